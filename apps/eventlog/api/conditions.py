"""Headers that make a request depend on a version or a position."""

import re
import time
from collections.abc import Callable
from typing import Any

from django.utils.http import parse_etags
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request

from apps.eventlog.api.problems import Unavailable

PATIENCE = 2.0  # seconds that a query waits for a position
VERSION = re.compile(r'"([0-9]{1,9})"')


def etag(version: int) -> str:
    return f'"{version}"'


def expected_version(request: Request) -> int | None:
    """The version of `If-Match: "<version>"`; None without it or for `*`."""
    header = request.headers.get("If-Match")
    if header is None or header == "*":
        return None
    match = VERSION.fullmatch(header)
    if not match:
        raise ValidationError({"If-Match": ['a version in quotes, as in "3"']})
    return int(match[1])


def has_it_already(request: Request, version: int) -> bool:
    """Does `If-None-Match` name this version, or any version (`*`)?"""
    known = parse_etags(request.headers.get("If-None-Match", ""))
    return "*" in known or etag(version) in [tag.removeprefix("W/") for tag in known]


def not_stored(response: Any) -> Any:
    """Tell every cache on the way not to keep this response: it may be about a person."""
    response.headers.setdefault("Cache-Control", "no-store")
    return response


def await_position(request: Request, what: str, shows: Callable[[int], bool]) -> None:
    """Let a query with `Min-Event-Position` wait until `shows(position)`.

    `what` names what is asked, for the message. Raises ValidationError, and `Unavailable` after PATIENCE seconds.
    """
    header = request.headers.get("Min-Event-Position")
    if header is None:
        return
    if not (header.isascii() and header.isdigit() and len(header) <= 18):
        raise ValidationError({"Min-Event-Position": ["a position of the log, 0 or more"]})
    position = int(header)
    deadline = time.monotonic() + PATIENCE
    while not shows(position):
        if time.monotonic() > deadline:
            raise Unavailable(f"{what} does not show position {position} yet")
        time.sleep(0.005)
