"""One ASGI application for everything: Django in a fixed pool of threads, streams on the event loop.

Django's own ASGI handler makes a thread for each request, which slows a synchronous API by two to
six times and can exhaust PostgreSQL's connections. Here a request's body is read whole, Django's
WSGI handler runs in one of a few threads, each with its own lasting connections, and only an
`AsyncResponse` (the live stream) stays on the loop, holding no thread.
"""

import asyncio
import math
import threading
from asyncio import FIRST_COMPLETED
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Iterable, Iterator
from contextlib import aclosing, contextmanager, suppress
from functools import partial
from queue import SimpleQueue
from typing import Any

from django.conf import settings
from django.core.handlers.wsgi import WSGIHandler, WSGIRequest, get_script_name
from django.core.signals import request_started
from django.http import StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.urls import set_script_prefix

from apps.eventlog.api.problems import problem
from apps.eventlog.server.probes import LIVEZ, livez
from apps.eventlog.server.request_head import fault_of
from apps.eventlog.server.wsgi_environ import environ_of

Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Coroutine[Any, Any, None]]

Answer = asyncio.Future[HttpResponseBase]
Job = tuple[Message, "Client", Answer, asyncio.AbstractEventLoop]

TURN = 0.02  # seconds that a read waits at most until those before it are done
MARGIN = 64 * 1024  # a body this much over the limit is read, so that Django can refuse it by itself
DRAINED = 64 * 1024 * 1024  # bytes of a body that are taken at most: some clients listen only when all is sent
CHUNK = 64 * 1024  # bytes of a download sent at once, about


class AsyncResponse(StreamingHttpResponse):
    """A response whose body, an asynchronous generator, is sent as it comes and may have no end."""

    def __init__(self, body: AsyncGenerator[bytes], **kwargs: Any) -> None:
        super().__init__(body, **kwargs)
        self.body = body


class Bridge:
    """Serves Django over ASGI with so many threads.

    `in_turn`: reads run one after another, unless one takes long. That is for SQLite, where a read has nothing to
    wait for: two at once only take Python's lock from each other, at every call of SQLite.
    """

    def __init__(self, threads: int, *, in_turn: bool = False) -> None:
        self.handler = WSGIHandler()
        self.in_turn, self.reading = in_turn, threading.Lock()
        self.jobs: SimpleQueue[Job] = SimpleQueue()
        for number in range(threads):
            # A daemon: what hangs in a database must not keep a server that was told to stop.
            threading.Thread(target=self._work, name=f"django-{number}", daemon=True).start()

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise ValueError(f"no {scope['type']} here")
        client = Client(receive, send)
        try:
            body = await _read(receive)
        except Left:
            return
        if body is None:
            response: HttpResponseBase = problem(413, "the body is too large")
        elif fault := fault_of(scope):
            response = problem(*fault)
        elif (environ := environ_of(scope, body))["PATH_INFO"] == LIVEZ:
            # Here, for threads that all wait, for a database say, are no reason to end the process.
            response = livez()
        else:
            loop = asyncio.get_running_loop()
            answer: Answer = loop.create_future()
            self.jobs.put((environ, client, answer, loop))
            response = await answer
        head = scope["method"] == "HEAD"
        if isinstance(response, AsyncResponse):
            start, stream = _start(response), response.body
            del response  # it holds the request, which need not live as long as the stream
            await client.stream(start, stream, head=head)
        elif not response.streaming:
            response.headers.setdefault("Content-Length", str(len(response.content)))  # type: ignore[attr-defined]
            await send(_start(response))
            await send({"type": "http.response.body", "body": b"" if head else response.content})  # type: ignore[attr-defined]

    def _work(self) -> None:
        while True:
            self._do(*self.jobs.get())

    def _do(self, environ: Message, client: "Client", answer: Answer, loop: asyncio.AbstractEventLoop) -> None:
        try:
            response = self._respond(environ, client, loop)
        except BaseException as error:
            _tell(loop, answer, partial(answer.set_exception, error))
        else:
            _tell(loop, answer, partial(answer.set_result, response))

    def _respond(self, environ: Message, client: "Client", loop: asyncio.AbstractEventLoop) -> HttpResponseBase:
        """Run Django in this thread; a synchronous stream is also sent from here, where its database connection is."""
        set_script_prefix(get_script_name(environ))
        request_started.send(sender=Bridge, environ=environ)
        with self._turn(environ["REQUEST_METHOD"]):
            response = self.handler.get_response(WSGIRequest(environ))
        try:
            if response.streaming and not isinstance(response, AsyncResponse):
                client.download(response, loop, head=environ["REQUEST_METHOD"] == "HEAD")
        finally:
            response.close()  # which also sends request_finished
        return response

    @contextmanager
    def _turn(self, method: str) -> Iterator[None]:
        mine = self.in_turn and method in ("GET", "HEAD") and self.reading.acquire(timeout=TURN)
        try:
            yield
        finally:
            if mine:
                self.reading.release()


class Left(Exception):
    """The client left before its request was whole."""


class Client:
    """The other end of a request: what it is sent it must take in time, and when it leaves, sending ends."""

    def __init__(self, receive: Receive, send: Send) -> None:
        self.receive, self.send = receive, send
        self.since = math.inf  # when what is being sent was handed over

    async def stream(self, start: Message, body: AsyncGenerator[bytes], *, head: bool) -> None:
        """Send an asynchronous body until it ends or the client leaves."""
        sending = asyncio.ensure_future(self._send_all(start, body, head=head))
        leaving = asyncio.ensure_future(self._left())
        loop, patience = asyncio.get_running_loop(), settings.CLIENT_PATIENCE
        try:
            # One timer a client, not one a message.
            while not (await asyncio.wait({sending, leaving}, timeout=patience / 2, return_when=FIRST_COMPLETED))[0]:
                if loop.time() - self.since > patience:
                    return self._drop()
            if sending.done():
                sending.result()
        finally:
            leaving.cancel()
            sending.cancel()
            await asyncio.gather(sending, leaving, return_exceptions=True)

    def download(self, response: Any, loop: asyncio.AbstractEventLoop, *, head: bool) -> None:
        """Send a synchronous body from a thread, at the client's pace."""

        def send(message: Message) -> None:
            asyncio.run_coroutine_threadsafe(self.send(message), loop).result(settings.CLIENT_PATIENCE)

        leaving = asyncio.run_coroutine_threadsafe(self._left(), loop)
        try:
            send(_start(response))
            for chunk in [] if head else _joined(response):
                if leaving.done():
                    return
                send({"type": "http.response.body", "body": chunk, "more_body": True})
            send({"type": "http.response.body"})
        except TimeoutError:
            loop.call_soon_threadsafe(self._drop)
        finally:
            leaving.cancel()

    async def _send_all(self, start: Message, body: AsyncGenerator[bytes], *, head: bool) -> None:
        clock = asyncio.get_running_loop().time
        async with aclosing(body):
            await self.send(start)
            if not head:
                async for chunk in body:
                    self.since = clock()
                    await self.send({"type": "http.response.body", "body": chunk, "more_body": True})
                    self.since = math.inf
            await self.send({"type": "http.response.body"})

    def _drop(self) -> None:
        """Drop the connection: to close it would wait until the client has taken the rest.

        ASGI has no word for it; this is uvicorn's way, where it is uvicorn that serves.
        """
        transport = getattr(getattr(self.send, "__self__", None), "transport", None)
        if transport is not None:
            transport.abort()

    async def _left(self) -> None:
        while (await self.receive())["type"] != "http.disconnect":
            pass


def _tell(loop: asyncio.AbstractEventLoop, answer: Answer, settle: Callable[[], None]) -> None:
    """Settle an answer on its loop, unless the client has left and nobody waits for it."""

    def tell() -> None:
        if not answer.done():
            settle()

    with suppress(RuntimeError):  # the loop has ended, and the server with it
        loop.call_soon_threadsafe(tell)


async def _read(receive: Receive) -> bytes | None:
    """The whole body, or None where it is larger than Django would take, and then is not kept; raises `Left`."""
    body, size = bytearray(), 0  # one array: a client may send each byte by itself
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Left
        body += message.get("body", b"")
        size += len(message.get("body", b""))
        too_large = size > settings.DATA_UPLOAD_MAX_MEMORY_SIZE + MARGIN
        if too_large:
            body.clear()
        if not message.get("more_body") or size > DRAINED:
            return None if too_large else bytes(body)


def _joined(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Chunks of about CHUNK bytes: each costs a change of thread."""
    held, size = [], 0
    for chunk in chunks:
        held.append(chunk)
        size += len(chunk)
        if size >= CHUNK:
            yield b"".join(held)
            held, size = [], 0
    yield b"".join(held)


def _start(response: HttpResponseBase) -> Message:
    headers = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in response.items()]
    headers += [(b"set-cookie", morsel.OutputString().encode("latin-1")) for morsel in response.cookies.values()]
    return {"type": "http.response.start", "status": response.status_code, "headers": headers}
