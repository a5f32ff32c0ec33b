"""Which request something goes back to: its ids are in the answer, in every log line and in the metadata of events.

A reaction is given the ids of its event's metadata. So its log lines and the events of its commands carry the ids of
the request that led to them, in whichever process it runs.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar, Token
from typing import Any, NamedTuple, Self

import uuid_utils as uuids

LONGEST = 200  # characters of a request id
# W3C Trace Context: version, trace id, parent id, flags; a later version may say more behind them.
TRACEPARENT = re.compile(r"(?!ff)([0-9a-f]{2})-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(-[!-~]*)?")


class Origin(NamedTuple):
    """The ids of the request that led to what is done now; empty if there was none, or if they are not known."""

    request_id: str = ""
    traceparent: str = ""
    correlation_id: str = ""

    @classmethod
    def of_headers(cls, request_id: str, traceparent: str) -> Self:
        """What a request brings in X-Request-ID and traceparent. A missing or malformed id is made anew."""
        known = 0 < len(request_id) <= LONGEST and request_id.isascii() and request_id.isprintable()
        return cls(request_id if known else str(uuids.uuid4()), traceparent if is_traceparent(traceparent) else "")

    @classmethod
    def of_event(cls, metadata: Mapping[str, Any]) -> Self:
        """What an event says of the request that led to it. Events of other systems may say anything."""
        return cls(*[text if isinstance(text := metadata.get(name), str) else "" for name in cls._fields])

    def known(self) -> dict[str, str]:
        """The ids that are known, by name."""
        return {name: id for name, id in zip(self._fields, self, strict=True) if id}


def is_traceparent(text: str) -> bool:
    match = TRACEPARENT.fullmatch(text) if len(text) <= LONGEST else None
    return match is not None and not (match[1] == "00" and match[2])


_NOWHERE = Origin()
_current: ContextVar[Origin] = ContextVar("origin", default=_NOWHERE)


def current() -> Origin:
    """The origin of what this thread or task does now."""
    return _current.get()


def enter(origin: Origin) -> Token[Origin]:
    """From now on, all log lines carry these ids, and so do the events of commands. `leave` ends that."""
    return _current.set(origin)


def leave(token: Token[Origin]) -> None:
    _current.reset(token)


@contextmanager
def within(origin: Origin) -> Iterator[None]:
    """`enter`, and `leave` at the end of the block."""
    token = enter(origin)
    try:
        yield
    finally:
        leave(token)
