"""One ASGI application for everything: Django in a fixed pool of threads, streams on the event loop.

Django's own ASGI handler makes a thread for each request, which slows a synchronous API by two to
six times and can exhaust PostgreSQL's connections. Here a request's body is read whole, Django's
WSGI handler runs in one of a few threads, each with its own lasting connections, and only an
`AsyncResponse` (the live stream) stays on the loop and needs no thread.
"""

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from queue import SimpleQueue
from typing import Any

from django.core.handlers.wsgi import WSGIHandler, WSGIRequest, get_script_name
from django.core.signals import request_started
from django.http import StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.urls import set_script_prefix

from apps.eventlog.api.problems import problem
from apps.eventlog.server.client import Client, Left, Message, Receive, Send, start_of
from apps.eventlog.server.probes import LIVEZ, livez
from apps.eventlog.server.request_head import fault_of
from apps.eventlog.server.wsgi_environ import environ_of

Answer = asyncio.Future[HttpResponseBase]
Job = tuple[Message, Client, Answer, asyncio.AbstractEventLoop]

TURN = 0.02  # seconds that a read waits at most for the reads before it


class AsyncResponse(StreamingHttpResponse):
    """A response whose body, an asynchronous generator, is sent as it comes and may have no end."""

    def __init__(self, body: AsyncGenerator[bytes], **kwargs: Any) -> None:
        super().__init__(body, **kwargs)
        self.body = body


class Bridge:
    """Serves Django over ASGI with so many threads.

    `in_turn`: reads run one after another, unless one takes long. That is for SQLite, where a read waits for nothing.
    Two reads at once would only take Python's lock from each other, at every call of SQLite.
    """

    def __init__(self, threads: int, *, in_turn: bool = False) -> None:
        self.handler = WSGIHandler()
        self.in_turn, self.reading = in_turn, threading.Lock()
        self.jobs: SimpleQueue[Job] = SimpleQueue()
        for number in range(threads):
            # A daemon, because a thread that hangs in a database must not keep a server that was told to stop.
            threading.Thread(target=self._work, name=f"django-{number}", daemon=True).start()

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise ValueError(f"this server speaks HTTP and not {scope['type']}")
        client, head = Client(receive, send), scope["method"] == "HEAD"
        try:
            response = await self._answer(scope, client)
        except Left:
            return
        if isinstance(response, AsyncResponse):
            start, stream = start_of(response), response.body
            del response  # it refers to the request, which need not live as long as the stream
            await client.stream(start, stream, head=head)
        elif not response.streaming:  # else the thread has sent it
            await client.send(response, head=head)

    async def _answer(self, scope: Message, client: Client) -> HttpResponseBase:
        body = await client.body()
        if body is None:
            return problem(413, "the body is too large")
        if fault := fault_of(scope):
            return problem(*fault)
        environ = environ_of(scope, body)
        if environ["PATH_INFO"] == LIVEZ:
            # Not in a thread: if all threads wait, for a database say, that is no reason to end the process.
            return livez()
        loop = asyncio.get_running_loop()
        answer: Answer = loop.create_future()
        self.jobs.put((environ, client, answer, loop))
        return await answer

    def _work(self) -> None:
        while True:
            self._do(*self.jobs.get())

    def _do(self, environ: Message, client: Client, answer: Answer, loop: asyncio.AbstractEventLoop) -> None:
        try:
            response = self._respond(environ, client, loop)
        except BaseException as error:
            _settle(loop, answer, partial(answer.set_exception, error))
        else:
            _settle(loop, answer, partial(answer.set_result, response))

    def _respond(self, environ: Message, client: Client, loop: asyncio.AbstractEventLoop) -> HttpResponseBase:
        """Run Django in this thread. A synchronous stream is also sent from here, where its database connection is."""
        set_script_prefix(get_script_name(environ))
        request_started.send(sender=Bridge, environ=environ)
        with self._turn(environ["REQUEST_METHOD"]):
            response = self.handler.get_response(WSGIRequest(environ))
        try:
            if response.streaming and not isinstance(response, AsyncResponse):
                client.download(response, loop, head=environ["REQUEST_METHOD"] == "HEAD")
        finally:
            response.close()  # this also sends request_finished
        return response

    @contextmanager
    def _turn(self, method: str) -> Iterator[None]:
        mine = self.in_turn and method in ("GET", "HEAD") and self.reading.acquire(timeout=TURN)
        try:
            yield
        finally:
            if mine:
                self.reading.release()


def _settle(loop: asyncio.AbstractEventLoop, answer: Answer, settle: Callable[[], None]) -> None:
    """Settle an answer on its loop, unless the client has left and nobody waits for it."""

    def if_awaited() -> None:
        if not answer.done():
            settle()

    with suppress(RuntimeError):  # the loop has ended, and the server with it
        loop.call_soon_threadsafe(if_awaited)
