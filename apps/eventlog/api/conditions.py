"""Headers that make a request depend on a version or a position."""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django.utils.http import parse_etags
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request

from apps.eventlog import store
from apps.eventlog.api.problems import Unavailable

PATIENCE = 2.0  # seconds that a query waits for a position
AWAITED = "headrace.awaited"  # the member of a request's META that says for which position it should wait
VERSION = re.compile(r'"([0-9]{1,9})"')


@dataclass(frozen=True)
class Awaited:
    """A position that a request waits for. `shows` asks whether `what` has reached a position; it queries a database.

    `deadline` is an instant of `time.monotonic`.
    """

    what: str
    position: int
    shows: Callable[[int], bool]
    login: str
    deadline: float


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
    """Let a query with `Min-Event-Position` wait until `shows(position)`. `what` names what is asked, for the message.

    Raises `Unavailable` if that is not yet so, and ValidationError if the log has no such position. Our ASGI server
    then finds an `Awaited` in the request, waits on its event loop, and runs the request again. Any other server holds
    a thread: here the thread waits, for PATIENCE seconds.
    """
    header = request.headers.get("Min-Event-Position")
    if header is None:
        return
    position = _position(header)
    if shows(position):
        return
    if position > store.head():
        raise ValidationError({"Min-Event-Position": ["the log has no such position yet"]})
    awaited = Awaited(what, position, shows, request.user.get_username(), time.monotonic() + PATIENCE)
    if request.META.get("asgi"):
        request.META[AWAITED] = awaited
    elif _wait(awaited):
        return
    raise Unavailable(f"{what} does not show position {position} yet")


def _position(header: str) -> int:
    if not (header.isascii() and header.isdigit() and len(header) <= 18):
        raise ValidationError({"Min-Event-Position": ["a position of the log, 0 or more"]})
    return int(header)


def _wait(awaited: Awaited) -> bool:
    while not awaited.shows(awaited.position):
        if time.monotonic() > awaited.deadline:
            return False
        time.sleep(0.005)
    return True
