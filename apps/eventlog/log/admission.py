"""What may enter the log: one list of rules for `store.append` and for imports, checked before anything is written.

The log is for ever, so an event that cannot be read back, or that no reader can hold, is refused at its door. Both
engines refuse the same, because the rules are here and not in a database.
"""

import dataclasses
import re
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec

from apps.eventlog import upcasting
from apps.eventlog.events import ERASED, DomainEvent, InvalidEvent, Payload, is_encrypted, named

LONGEST_NAME = 200  # characters of a stream, of a type and of a correlation id
LONGEST_CATEGORY = 100  # characters
LARGEST = 1024 * 1024  # bytes of an event as it is stored, its metadata included
MOST_DIGITS = 400  # of a number that is written out; a float has up to 341
DEEPEST = 20  # levels of lists and objects
NEWEST_VERSION = 32_767

LONG = re.compile(rb"[0-9]{%d}" % (MOST_DIGITS + 1))
CATEGORY = re.compile(r"\w+")
UUID_AS_WRITTEN = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
# Every spelling that UUID() takes: with or without dashes and braces, in any case.
UUID_LIKE = re.compile(r"(?:urn:uuid:)?\{?[0-9a-f]{8}(?:-?[0-9a-f]{4}){3}-?[0-9a-f]{12}\}?", re.IGNORECASE)
NOT_TEXT = re.compile("[\x00\ud800-\udfff]")
NOT_JSON = (TypeError, ValueError, OverflowError, RecursionError)  # what says that a value cannot be written as JSON


def check_stream(stream: str) -> None:
    """Raise `InvalidEvent` unless the name is `<category>-<id>` as the log writes it."""
    category, dash, id = stream.partition("-") if isinstance(stream, str) else ("", "", "")
    if not (dash and id and CATEGORY.fullmatch(category)) or not id.isprintable():
        raise InvalidEvent(repr(stream), "stream", "is <category>-<id>, in printable characters")
    if len(stream) > LONGEST_NAME or len(category) > LONGEST_CATEGORY:
        raise InvalidEvent(repr(stream[:50]), "stream", f"has at most {LONGEST_NAME} characters")
    if not UUID_AS_WRITTEN.fullmatch(id) and UUID_LIKE.fullmatch(id):
        raise InvalidEvent(repr(stream), "stream", f"writes its id in lower case with dashes: {UUID(id)}")


def checked_ids(event_ids: Sequence[UUID]) -> list[UUID]:
    """The ids of new events. Raises `InvalidEvent` unless each is a UUID."""
    for id in event_ids:
        if not isinstance(id, UUID):
            raise InvalidEvent(repr(id), "event_id", "is a UUID")
    return list(event_ids)


def check_metadata(metadata: Payload, event: str) -> bytes:
    """The metadata as the JSON to store. Raises `InvalidEvent`."""
    text = _json(metadata, event, "metadata")
    if not isinstance(metadata, dict) or msgspec.json.decode(text) != metadata:
        raise InvalidEvent(event, "metadata", "is an object of JSON values")
    _check_correlation(metadata, event)
    return text


def check_recorded_metadata(text: bytes, event: str) -> None:
    """Raise `InvalidEvent` unless recorded metadata, which is JSON, keeps the rules of `check_metadata`."""
    metadata = _decoded(text, event, "metadata")
    if not isinstance(metadata, dict):
        raise InvalidEvent(event, "metadata", "is an object")
    _check_correlation(metadata, event)


def _check_correlation(metadata: Payload, event: str) -> None:
    correlation = metadata.get("correlation_id")
    if correlation is not None and not (
        isinstance(correlation, str) and 0 < len(correlation) <= LONGEST_NAME and correlation.isprintable()
    ):
        raise InvalidEvent(event, "metadata.correlation_id", f"has 1 to {LONGEST_NAME} printable characters")


def check_event(event: DomainEvent) -> Payload:
    """The payload of an event that is to be appended. Raises `InvalidEvent` unless the payload reads back as it."""
    kind = type(event)
    if not isinstance(event, DomainEvent) or kind.types.get(kind.type) is not kind:
        raise InvalidEvent(kind.__name__, "type", "is a class of events, and the one that its events are read as")
    check_type(kind.type, kind.schema_version, kind.type)
    try:
        payload = event.payload()
    except NOT_JSON as error:
        raise InvalidEvent(kind.type, "data", f"is JSON: {error}") from None
    text = _json(payload, kind.type, "data")
    read = _read(kind, text, kind.type)
    if not _same(read, event):
        raise InvalidEvent(kind.type, ", ".join(_differing(read, event)), "does not read back as it was given")
    if msgspec.json.encode(read) != text:
        _check_types(text, read, kind.type)  # 5 equals Decimal(5), and is stored as another type
    _check_rules(event, kind.type)
    _refuse_erased(kind, payload, kind.type)
    return payload


def check_size(size: int, event: str) -> None:
    """Raise `InvalidEvent` if an event is too large; `size` is the bytes of its data and metadata as stored."""
    if size > LARGEST:
        raise InvalidEvent(event, "data and metadata", f"have at most {LARGEST:,} bytes as stored, not {size:,}")


def check_recorded(type: str, schema_version: int, data: bytes, event: str) -> None:
    """Raise `InvalidEvent` unless the payload of a recorded event can be read, if this code knows its type.

    An event of an unknown type or of a newer version may enter: it stops only its own stream. `data` is JSON, with
    personal fields encrypted or in clear text; `event` is how to name the event.
    """
    check_type(type, schema_version, event)
    payload = _decoded(data, event, "data")
    if not isinstance(payload, dict):
        raise InvalidEvent(event, "data", "is an object")
    kind = named(type)
    if kind is None or schema_version > kind.schema_version:
        return
    for field in kind.personal:
        if is_encrypted(payload.get(field)):
            payload[field] = ERASED  # what it reads as if the key is gone
    current = schema_version == kind.schema_version
    try:
        upcast = (
            payload if current else upcasting.upcast(type, schema_version, kind.schema_version, payload, kind.names())
        )
    except (LookupError, TypeError, ValueError) as error:
        raise InvalidEvent(event, "data", f"cannot be brought to version {kind.schema_version}: {error!r}") from error
    text = msgspec.json.encode(upcast)
    read = _read(kind, text, event)
    _check_rules(read, event)
    if current:
        _check_types(text, read, event)


def check_type(type: str, schema_version: int, event: str) -> None:
    """Raise `InvalidEvent` unless the type has a name and the version a number that the log can hold."""
    if not isinstance(type, str) or not 0 < len(type) <= LONGEST_NAME or not type.isprintable():
        raise InvalidEvent(event, "type", f"has 1 to {LONGEST_NAME} printable characters")
    if isinstance(schema_version, bool) or not isinstance(schema_version, int):
        raise InvalidEvent(event, "schema_version", "is a whole number")
    if not 1 <= schema_version <= NEWEST_VERSION:
        raise InvalidEvent(event, "schema_version", f"is a number from 1 to {NEWEST_VERSION:,}")


def _read(kind: type[DomainEvent], text: bytes, event: str) -> DomainEvent:
    try:
        return kind.from_json(text)
    except (msgspec.ValidationError, ArithmeticError) as error:
        what, _, path = str(error).partition(" - at `$.")
        raise InvalidEvent(event, path.rstrip("`") or "data", f"is not valid: {what or 'not a number'}") from error


def _check_rules(event: DomainEvent, name: str) -> None:
    try:
        event.check()
    except (ValueError, ArithmeticError) as error:
        raise InvalidEvent(name, "data", f"is not valid: {error}") from error


def _same(read: Any, given: Any) -> bool:
    try:
        return read == given
    except ArithmeticError:  # a signalling NaN
        return False


def _differing(read: DomainEvent, event: DomainEvent) -> Iterator[str]:
    for field in dataclasses.fields(event):  # type: ignore[arg-type]
        if not _same(getattr(read, field.name), getattr(event, field.name)):
            yield field.name


def _check_types(text: bytes, read: DomainEvent, name: str) -> None:
    if field := next(_other_types(msgspec.json.decode(text), msgspec.json.decode(msgspec.json.encode(read))), ""):
        raise InvalidEvent(name, field, "has another JSON type than this event is stored with")


def _json(value: Any, event: str, field: str) -> bytes:
    try:
        text = msgspec.json.encode(value)
    except NOT_JSON as error:
        raise InvalidEvent(event, field, f"is JSON in UTF-8: {error}") from None
    check_size(len(text), event)
    _check_text(text, event, field)
    return text


def _check_text(text: bytes, event: str, field: str) -> None:
    """Depth, and the characters that an engine or a reader cannot hold."""
    # Few brackets cannot nest deeply, and without an escape there is no NUL and no lone surrogate.
    if text.count(b"{") + text.count(b"[") > DEEPEST and _depth(text) > DEEPEST:
        raise InvalidEvent(event, field, f"is nested at most {DEEPEST} levels deep")
    if b"\\u" in text and any(NOT_TEXT.search(each) for each in _values(msgspec.json.decode(text), str)):
        raise InvalidEvent(event, field, "has no NUL and no lone surrogate in a text")
    long = len(text) > MOST_DIGITS and LONG.search(text)
    if long and any(abs(each) >= 10**MOST_DIGITS for each in _values(msgspec.json.decode(text), int)):
        raise InvalidEvent(event, field, f"is JSON: a number has at most {MOST_DIGITS} digits when it is written out")


def _decoded(text: bytes, event: str, field: str) -> Any:
    try:
        _check_text(text, event, field)
        return _decode(text)
    except (msgspec.MsgspecError, RecursionError, UnicodeError) as error:
        raise InvalidEvent(event, field, f"is JSON in UTF-8: {error}") from None


def _float(digits: str) -> float:
    """The float of a number in JSON. Raises ValueError if it cannot be written out, as PostgreSQL and exports do."""
    try:
        number = Decimal(digits)
        written = max(number.adjusted(), 0) - min(int(number.as_tuple().exponent), 0)
    except ArithmeticError:
        written = MOST_DIGITS
    if written >= MOST_DIGITS:
        raise ValueError(f"a number has at most {MOST_DIGITS} digits when it is written out")
    return float(digits)


_decode = msgspec.json.Decoder(float_hook=_float).decode


def _depth(text: bytes) -> int:
    """How deep brackets nest, without recursion: the text may be hostile."""
    deepest = depth = 0
    in_text = escaped = False
    for byte in text:
        if in_text:
            in_text = escaped or byte != 0x22
            escaped = not escaped and byte == 0x5C
        elif byte == 0x22:
            in_text = True
        elif byte in b"{[":
            depth += 1
            deepest = max(deepest, depth)
        elif byte in b"}]":
            depth -= 1
    return deepest


def _values(value: Any, kind: type) -> Iterator[Any]:
    """The texts (those of keys too) or the numbers in a JSON value."""
    if isinstance(value, kind):
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from _values(item, kind)
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _values(key, kind)
            yield from _values(item, kind)


def _refuse_erased(kind: type[DomainEvent], payload: Payload, event: str) -> None:
    for field in kind.personal:
        if payload.get(field) == ERASED:
            raise InvalidEvent(event, field, f"cannot be {ERASED}: that is how a forgotten person's fields read")


def _other_types(given: Any, stored: Any, path: str = "") -> Iterator[str]:
    """The fields that the payload has with another JSON type than the event is stored with, as 5.5 for "5.50"."""
    if isinstance(given, dict) and isinstance(stored, dict):
        for key in [key for key in given if key in stored]:
            yield from _other_types(given[key], stored[key], f"{path}.{key}" if path else key)
    elif isinstance(given, list) and isinstance(stored, list):
        for number, (one, other) in enumerate(zip(given, stored, strict=False)):
            yield from _other_types(one, other, f"{path}[{number}]")
    elif type(given) is not type(stored) and not {type(given), type(stored)} <= {int, float}:
        yield path
