"""One ASGI application for everything: Django in fixed pools of threads, streams on the event loop.

Django's own ASGI handler makes a thread for each request, which slows a synchronous API by two to
six times and can exhaust PostgreSQL's connections. Here a request's body is read whole, Django's
WSGI handler runs in one of a few threads, each with its own lasting connections, and only an
`AsyncResponse` (the live stream) stays on the loop and needs no thread. It is called as any WSGI server would call it,
because tools that watch an application patch that call.
"""

import asyncio
import threading
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from django.core.handlers.wsgi import WSGIHandler
from django.http import HttpRequest, StreamingHttpResponse
from django.http.response import HttpResponseBase

from apps.eventlog.api.conditions import AWAITED, Awaited
from apps.eventlog.api.problems import problem
from apps.eventlog.monitoring import instruments
from apps.eventlog.monitoring.visit import LEFT, VISIT, Visit
from apps.eventlog.server.awaited import TooMany, Waiting
from apps.eventlog.server.client import STARTED, Client, Left, Message, Receive, Refusal, Send, gathered
from apps.eventlog.server.draining import drain_at_sigterm
from apps.eventlog.server.error_pages import for_people
from apps.eventlog.server.lanes import COMMANDS, METRICS, MONITORING, PASSWORDS, QUERIES, lane_of, whose
from apps.eventlog.server.pools import Full, Pool
from apps.eventlog.server.probes import LIVEZ, READYZ, livez, readiness
from apps.eventlog.server.request_head import fault_of
from apps.eventlog.server.wsgi_environ import environ_of

TURN = 0.02  # seconds that a read waits at most for the reads before it
RESPONSE = "headrace.response"  # the member of a request's META that has the response


class AsyncResponse(StreamingHttpResponse):
    """A response whose body, an asynchronous generator, is sent as it comes and may have no end."""

    def __init__(self, body: AsyncGenerator[bytes], **kwargs: Any) -> None:
        super().__init__(body, **kwargs)
        self.body = body


class Handler(WSGIHandler):
    """Django's handler. A tool may wrap what its call returns, so the response itself is left in the request."""

    def get_response(self, request: HttpRequest) -> HttpResponseBase:  # type: ignore[override]
        response = request.META[RESPONSE] = super().get_response(request)
        return response


class Bridge:
    """Serves Django over ASGI with so many threads for queries, for commands and for requests with a password.

    `queue`: how many requests may wait for the threads of one pool. `in_turn`: reads run one after another, unless one
    takes long. That is for SQLite, where a read waits for nothing. Two reads at once would only take Python's lock from
    each other, at every call of SQLite.
    """

    def __init__(self, *, queries: int, commands: int, passwords: int, queue: int, in_turn: bool = False) -> None:
        self.handler = Handler()
        self.in_turn, self.reading = in_turn, threading.Lock()
        threads = {QUERIES: queries, COMMANDS: commands, PASSWORDS: passwords, MONITORING: 1}
        self.pools = {lane: Pool(lane, number, queue) for lane, number in threads.items()}
        self.waiting = Waiting()
        for lane in self.pools:
            instruments.waiting(lane, 0)

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise ValueError(f"this server speaks HTTP and not {scope['type']}")
        drain_at_sigterm()
        client, head, visit, status = Client(receive, send), scope["method"] == "HEAD", Visit.of_scope(scope), 500
        try:
            try:
                response = await self._answer(scope, client, visit)
            finally:
                client.let_go()
            visit.mark(response)
            status = response.status_code
            if isinstance(response, AsyncResponse):
                visit.stream(status)
                stream = response.body
                await client.begin(response)
                del response  # its headers and its request need not live as long as the stream
                await client.stream(stream, head=head)
            elif not response.streaming:  # else the thread has sent it
                await client.send(response, head=head)
        except Left:
            status = LEFT
        finally:
            visit.finish(status)

    async def _answer(self, scope: Message, client: Client, visit: Visit) -> HttpResponseBase:
        body = await client.body()
        if isinstance(body, Refusal):
            return busy(body.reason) if body.status == 503 else problem(body.status, body.reason)
        if fault := fault_of(scope):
            return problem(*fault)
        environ = environ_of(scope, body)
        environ[VISIT] = visit
        # Probes need no thread of the pools: if all of them wait, for a database say, the answer comes nevertheless.
        if environ["PATH_INFO"] in (LIVEZ, READYZ):
            visit.quiet = True
            return livez() if environ["PATH_INFO"] == LIVEZ else await readiness.answer()
        try:
            return await self._run(environ, body, client, lambda: environ_of(scope, body) | {VISIT: visit})
        except Full:
            full = busy("too many requests wait for the server")
            return for_people(environ["PATH_INFO"], environ.get("HTTP_ACCEPT", ""), full)

    async def _run(self, environ: Message, body: bytes, client: Client, again: Any) -> HttpResponseBase:
        """Run the request in its pool; while it must wait for a position, wait here and run it again."""
        loop, lane = asyncio.get_running_loop(), lane_of(environ, body)
        pool, owner, deadline = self.pools[lane], whose(environ, lane), 0.0
        while True:
            response = await pool.run(partial(self._respond, environ, client, loop), client, owner)
            awaited: Awaited | None = environ.get(AWAITED)
            if awaited is None:
                return response
            deadline = deadline or awaited.deadline
            if (left := deadline - time.monotonic()) <= 0:
                return response
            try:
                await self.waiting.until_shown(awaited, left)
            except TooMany:
                return response
            environ = again()

    def _respond(self, environ: Message, client: Client, loop: asyncio.AbstractEventLoop) -> HttpResponseBase:
        """Run Django in this thread. A synchronous stream is also sent from here, where its database connection is."""
        with self._turn(environ):
            started: list[tuple[str, str]] = []
            answer: Any = self.handler(environ, partial(_start_response, started))
        response = environ.pop(RESPONSE, answer)
        setattr(response, STARTED, started)
        head = environ["REQUEST_METHOD"] == "HEAD"
        try:
            if response.streaming and not isinstance(response, AsyncResponse):
                return (None if head else gathered(response)) or client.download(response, loop, head=head)
        finally:
            answer.close()  # this also sends request_finished
        return response

    @contextmanager
    def _turn(self, environ: Message) -> Iterator[None]:
        reads = environ["REQUEST_METHOD"] in ("GET", "HEAD") and environ["PATH_INFO"] != METRICS
        mine = self.in_turn and reads and self.reading.acquire(timeout=TURN)
        try:
            yield
        finally:
            if mine:
                self.reading.release()


def _start_response(
    started: list[tuple[str, str]], status: str, headers: list[tuple[str, str]], exc_info: Any = None, /
) -> Callable[[bytes], object]:
    """Keep the headers, to which a tool may have added some. Nothing writes in WSGI's old way."""
    started[:] = headers
    return len


def busy(reason: str) -> HttpResponseBase:
    """503, and when to come again."""
    response = problem(503, reason)
    response["Retry-After"] = "1"
    return response
