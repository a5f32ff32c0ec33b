"""One request, as its log line and the metrics show it."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from time import perf_counter
from typing import Any

from apps.eventlog.commands import Actor
from apps.eventlog.monitoring import instruments, lines
from apps.eventlog.monitoring.origin import Origin

VISIT = "headrace.visit"  # the member of a request's META that has its visit
REQUEST_ID, TRACEPARENT = "X-Request-ID", "traceparent"
UNMATCHED = "unmatched"  # the route of a path that belongs to no view, or that was not looked at
QUERIES = ("GET", "HEAD", "OPTIONS")
LEFT = 499  # the status for the log if the client left before the answer, as nginx has it


class Visit:
    """A request from its coming to the end of its answer. It is written once, with `finish`."""

    __slots__ = ("began", "correlation_id", "method", "origin", "quiet", "route", "streams", "who")

    def __init__(self, method: str, request_id: str, traceparent: str) -> None:
        self.began = perf_counter()
        self.method = method
        self.origin = Origin.of_headers(request_id, traceparent)
        self.route, self.who = UNMATCHED, "nobody"
        self.correlation_id = ""  # of the command that it sent
        self.quiet = False  # a probe; written only if it fails, or if LOG_LEVEL is DEBUG
        self.streams = False  # its answer has no end

    @classmethod
    def of_environ(cls, environ: dict[str, Any]) -> "Visit":
        return cls(environ["REQUEST_METHOD"], environ.get("HTTP_X_REQUEST_ID", ""), environ.get("HTTP_TRACEPARENT", ""))

    @classmethod
    def of_scope(cls, scope: dict[str, Any]) -> "Visit":
        found = {name: value.decode("latin-1") for name, value in scope["headers"] if name in _HEADERS}
        return cls(scope["method"], found.get(b"x-request-id", ""), found.get(b"traceparent", ""))

    def mark(self, response: Any) -> None:
        """Tell the client the ids."""
        response.headers.setdefault(REQUEST_ID, self.origin.request_id)
        if self.origin.traceparent:
            response.headers.setdefault(TRACEPARENT, self.origin.traceparent)

    def stream(self, status: int) -> None:
        """The answer has begun and has no end: this is written too, because `finish` comes much later."""
        self._count(status)
        self.streams = True
        self._write("stream opened", status)

    def finish(self, status: int) -> None:
        if not self.streams and not self.quiet:
            self._count(status)
        self._write("request", status)

    def _count(self, status: int) -> None:
        if self.method in QUERIES and status != LEFT:
            instruments.query(self.route, status, perf_counter() - self.began)

    def _write(self, event: str, status: int) -> None:
        level = logging.INFO if status < 500 else logging.ERROR if status == 500 else logging.WARNING
        ids = self.origin._replace(correlation_id=self.correlation_id)
        fields: dict[str, Any] = {
            "method": self.method, "route": self.route, "status": status,
            "ms": round(1000 * (perf_counter() - self.began), 1), "who": self.who, **ids._asdict(),
        }  # fmt: skip
        lines.write("request", event, logging.DEBUG if self.quiet and status < 400 else level, fields)


_current: ContextVar[Visit | None] = ContextVar("visit", default=None)


@contextmanager
def visiting(visit: Visit) -> Iterator[None]:
    """What is done in the block is done for this request."""
    token = _current.set(visit)
    try:
        yield
    finally:
        _current.reset(token)


def correlate(correlation_id: str) -> None:
    """The request that is being answered, if there is one, has sent a command with this correlation id."""
    if visit := _current.get():
        visit.correlation_id = correlation_id


_HEADERS = (b"x-request-id", b"traceparent")


def who(user: Any) -> str:
    """A login as the lines name it: by an id, never by a name."""
    if not user.is_authenticated:
        return "nobody"
    return getattr(user, "pseudonym", "") or Actor.of(user).pseudonym
