"""One request, as its log line and the metrics show it."""

import logging
from collections.abc import Callable
from contextvars import ContextVar
from time import perf_counter, time
from typing import Any

from apps.eventlog.commands import pseudonym
from apps.eventlog.monitoring import instruments, lines, origin
from apps.eventlog.monitoring.later import later
from apps.eventlog.monitoring.origin import Origin

VISIT = "headrace.visit"  # the member of a request's META that has its visit
REQUEST_ID, TRACEPARENT = "X-Request-ID", "traceparent"
UNMATCHED = "unmatched"  # the route of a path that belongs to no view, or that was not looked at
QUERIES = ("GET", "HEAD", "OPTIONS")
REFUSALS = (401, 403, 429)
LEFT = 499  # the status for the log if the client left before the answer, as nginx has it


class Visit:
    """A request from its coming to its answer, or to the end of its stream. It is written once, by `finish`."""

    __slots__ = ("began", "correlation_id", "finished", "method", "origin", "quiet", "route", "streams", "who")

    def __init__(self, method: str, request_id: str, traceparent: str) -> None:
        self.began = perf_counter()
        self.method = method
        self.origin = Origin.of_headers(request_id, traceparent)
        self.route, self.who = UNMATCHED, "nobody"
        self.correlation_id = ""  # of the command that it sent
        self.quiet = False  # a probe; written only if it fails, or if LOG_LEVEL is DEBUG
        self.streams = self.finished = False  # its answer has no end; it is written

    @classmethod
    def of_environ(cls, environ: dict[str, Any]) -> "Visit":
        return cls(environ["REQUEST_METHOD"], environ.get("HTTP_X_REQUEST_ID", ""), environ.get("HTTP_TRACEPARENT", ""))

    @classmethod
    def of_scope(cls, scope: dict[str, Any]) -> "Visit":
        found = {name: value.decode("latin-1") for name, value in scope["headers"] if name in _HEADERS}
        return cls(scope["method"], found.get(b"x-request-id", ""), found.get(b"traceparent", ""))

    def mark(self, response: Any) -> None:
        """Tell the client the ids."""
        if not response.has_header(REQUEST_ID):
            response.headers[REQUEST_ID] = self.origin.request_id
            if self.origin.traceparent:
                response.headers[TRACEPARENT] = self.origin.traceparent

    def stream(self, status: int) -> None:
        """The answer has begun and has no end: this is written too, because `finish` comes much later."""
        self.streams = True
        later.do(self._record, "stream opened", status, perf_counter() - self.began, time())

    def finish(self, status: int) -> None:
        """The answer is there, or there will be none; the first call counts."""
        if not self.finished:
            self.finished = True
            later.do(self._record, "request", status, perf_counter() - self.began, time())

    def _record(self, event: str, status: int, seconds: float, at: float) -> None:
        """Count and write. A stream is counted when it opens: how long it is open is not how long a query takes."""
        opens_or_answers = not self.streams or event != "request"
        if self.method in QUERIES and status != LEFT and opens_or_answers and not self.quiet:
            instruments.query(self.route, status, seconds)
        if status in REFUSALS and not self.quiet:
            instruments.refusal(status)
        # Not an error: the traceback of a 500 is written as one, and tools that collect errors would have it twice.
        level = logging.INFO if status < 500 else logging.WARNING
        fields = {
            "method": self.method, "route": self.route, "status": status, "ms": round(1000 * seconds, 1),
            "who": self.who, "request_id": self.origin.request_id, "traceparent": self.origin.traceparent,
            "correlation_id": self.correlation_id,
        }  # fmt: skip
        lines.write("request", event, logging.DEBUG if self.quiet and status < 400 else level, fields, at)


_current: ContextVar[Visit | None] = ContextVar("visit", default=None)


def while_visiting(visit: Visit, work: Callable[[], Any]) -> Any:
    """What `work` does is done for this request: it carries the ids of the request."""
    token = _current.set(visit)
    ids = origin.enter(visit.origin)
    try:
        return work()
    finally:
        origin.leave(ids)
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
    return getattr(user, "pseudonym", "") or pseudonym(user.get_username(), user.pk if user.is_staff else None)
