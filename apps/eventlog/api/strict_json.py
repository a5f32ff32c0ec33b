"""JSON in, strictly; JSON out, fast, or within a page for people."""

import json
import re
from collections.abc import Mapping
from itertools import islice
from math import isfinite
from typing import IO, Any

import msgspec
from django.conf import settings
from django.utils.http import parse_header_parameters
from rest_framework.exceptions import ParseError, UnsupportedMediaType
from rest_framework.parsers import BaseParser
from rest_framework.renderers import BaseRenderer, BrowsableAPIRenderer
from rest_framework.request import Request

from apps.eventlog.api.problems import TooLarge, pointer_of, shortened

MAX_DEPTH = 20
MAX_KEYS = 1000
MAX_ITEMS = 10_000
MAX_INTEGER = 2**53

# Each key and each value is a string, the beginning of a list or an object, a number, or a word. The quantifiers are
# possessive, and a string may lack its end. Otherwise each of many quotes would be read to the end of the body.
ITEM = re.compile(rb'"(?:[^"\\]++|\\.)*+"?|[\[{]|[^\s\[\]{}",:]++', re.DOTALL)


class JSONRenderer(BaseRenderer):
    media_type = "application/json"
    format = "json"
    charset = None

    def render(
        self, data: Any, accepted_media_type: str | None = None, renderer_context: Mapping[str, Any] | None = None
    ) -> bytes:
        if data is None:
            return b""
        encoded = msgspec.json.encode(data, enc_hook=str)
        # The browsable pages ask for it, and so may `Accept: application/json; indent=4`.
        indented = "indent" in (accepted_media_type or "") or "indent" in (renderer_context or {})
        return msgspec.json.format(encoded, indent=2) if indented else encoded


class StrictJSONParser(BaseParser):
    """An object of JSON that both engines can store and every reader can parse.

    Refused: more than DATA_UPLOAD_MAX_MEMORY_SIZE bytes, more than 10,000 keys and values, deeper
    than 20, an object of more than 1,000 keys or with a key twice, NUL or a lone surrogate in a
    string, integers beyond 2**53, NaN and Infinity; another charset than UTF-8, and a body that is packed.
    """

    media_type = "application/json"
    renderer_class = JSONRenderer  # by which the browsable pages show the body that a command takes

    def parse(
        self, stream: IO[bytes], media_type: str | None = None, parser_context: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        _require_plain_utf8(media_type or "", (parser_context or {})["request"])
        limit = settings.DATA_UPLOAD_MAX_MEMORY_SIZE
        body = stream.read(limit + 1)
        if len(body) > limit:
            raise TooLarge
        _require_few_items(body)
        try:
            value = json.loads(
                body.decode(), object_pairs_hook=_object, parse_constant=_refuse_constant, parse_float=_number
            )
        except RecursionError:
            raise ParseError(f"nested deeper than {MAX_DEPTH}") from None
        except ValueError as error:
            raise ParseError(f"not valid JSON: {error}") from None
        if not isinstance(value, dict):
            raise ParseError("the body must be a JSON object")
        _check(value, [])
        return value


def _require_plain_utf8(media_type: str, request: Request) -> None:
    kind, parameters = parse_header_parameters(media_type)
    if kind != "application/json" or parameters.get("charset", "utf-8").lower() not in ("utf-8", "utf8"):
        raise UnsupportedMediaType(media_type)
    if request.headers.get("Content-Encoding", "identity") != "identity":
        raise UnsupportedMediaType(media_type, "a body is sent as it is, without Content-Encoding")


def _require_few_items(body: bytes) -> None:
    """Count keys and values before they are parsed: an empty list is two bytes of JSON and 56 bytes of memory."""
    signs = sum(map(body.count, (b",", b":", b"[", b"{")))  # each key and value but the outermost has one before it
    if signs >= MAX_ITEMS and next(islice(ITEM.finditer(body), MAX_ITEMS, None), None):
        raise ParseError(f"more than {MAX_ITEMS} keys and values")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError(f"key {shortened(_repeated(pairs))!r} is there twice")
    return value


def _repeated(pairs: list[tuple[str, Any]]) -> str:
    seen: set[str] = set()
    return next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _number(text: str) -> float:
    value = float(text)
    if not isfinite(value):
        raise ValueError(f"{text} is too large")
    return value


def _is_text(value: str) -> bool:
    """Without NUL and lone surrogates. A pattern takes 7 times as long as to encode it, of ASCII alone 300 times."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in value


def _check(value: Any, path: list[str | int]) -> None:
    """Refuse what can be parsed but not stored. Only then is the path turned into a pointer: that takes time."""
    if isinstance(value, str):
        if not _is_text(value):
            raise ParseError(f"{pointer_of(path) or '/'}: NUL and lone surrogates are not text")
    elif isinstance(value, int) and abs(value) > MAX_INTEGER:
        raise ParseError(f"{pointer_of(path)}: integers go up to 2**53")
    elif isinstance(value, dict | list):
        if len(path) >= MAX_DEPTH:
            raise ParseError(f"nested deeper than {MAX_DEPTH}")
        if isinstance(value, dict) and len(value) > MAX_KEYS:
            raise ParseError(f"{pointer_of(path) or '/'}: more than {MAX_KEYS} keys")
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            _check(key, path) if isinstance(key, str) else None
            path.append(key)
            _check(item, path)
            path.pop()


class PageRenderer(BrowsableAPIRenderer):
    """An answer of the API as a page, in the language in which its texts are."""

    def render(self, *args: Any, **kwargs: Any) -> Any:
        return super().render(*args, **kwargs).replace("<html>", '<html lang="en">', 1)
