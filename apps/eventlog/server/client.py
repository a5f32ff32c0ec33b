"""The client's end of a request: its body is read whole, its answer is sent whole or piece by piece."""

import asyncio
import gc
from asyncio import FIRST_COMPLETED
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Iterable, Iterator
from contextlib import aclosing
from itertools import chain
from typing import Any, ClassVar, NamedTuple

from django.conf import settings
from django.http import HttpResponse
from django.http.response import HttpResponseBase

Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Coroutine[Any, Any, None]]

MEGABYTE = 1024 * 1024
MARGIN = 64 * 1024  # a body this many bytes over the limit is kept, so that Django refuses it in its own words
MOST_READ = 64 * MEGABYTE  # bytes of a body that is too large: some clients read no answer before they have sent all
SMALL = 64 * 1024  # bytes of a body that always has room
ROOM = 32 * MEGABYTE  # bytes that the larger bodies of all requests may take together
DROPPED = 8 * MEGABYTE  # bytes of larger bodies after which garbage is collected
STARTED = "started_with"  # the attribute of a response that has its headers and cookies as they were given to WSGI
CHUNK = 64 * 1024  # bytes of a download that are sent at once, about
GATHERED = 5 * MEGABYTE  # bytes of a download that is sent whole, so that no thread waits for the client


class Left(Exception):
    """The client left before it had its answer."""


class Refusal(NamedTuple):
    """Why a body is not taken: it is too large for Django (413), or for the moment (503)."""

    status: int
    reason: str


class Client:
    """Receives from one client, and sends to it. When the client leaves, sending ends.

    A client that is too slow is cut off by its connection (`connection.py`), which looks as if it had left.
    """

    taken: ClassVar[int] = 0  # bytes of ROOM
    dropped: ClassVar[int] = 0  # bytes of larger bodies that may still be in memory, although nobody needs them

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive, self._send = receive, send
        self._takes = 0

    @property
    def left(self) -> bool:
        """True if the client has left, as far as the server says without being asked: uvicorn does."""
        return getattr(getattr(self._send, "__self__", None), "disconnected", False)

    async def body(self) -> bytes | Refusal:
        """The whole body, or why it is not taken; then it was read nevertheless, up to a bound. Raises `Left`."""
        body, size, refused = bytearray(), 0, None  # one array, because a client may send each byte by itself
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise Left
            chunk = message.get("body", b"")
            size += len(chunk)
            refused = refused or self._refusal(size)
            if refused:
                body.clear()
            else:
                body += chunk
            if not message.get("more_body") or size > MOST_READ:
                return refused or bytes(body)

    def _refusal(self, size: int) -> Refusal | None:
        """Why a body of so many bytes cannot be kept; if it can, it takes its room."""
        if size > settings.DATA_UPLOAD_MAX_MEMORY_SIZE + MARGIN:
            self.let_go()
            return Refusal(413, "the body is too large")
        if size <= SMALL:
            return None
        if Client.taken - self._takes + size > ROOM:
            self.let_go()
            return Refusal(503, "too many large bodies are being sent")
        Client.taken += size - self._takes
        self._takes = size
        return None

    def let_go(self) -> None:
        """The body is no longer needed."""
        Client.taken -= self._takes
        Client.dropped += self._takes
        self._takes = 0
        if Client.dropped > DROPPED:
            Client.dropped = 0
            gc.collect()  # a request is in a cycle with its view, and the collector counts objects, not their bytes

    async def send(self, response: Any, *, head: bool) -> None:
        """Send a response that is there as a whole."""
        start = start_of(response)
        if not response.has_header("Content-Length"):
            start["headers"].append((b"content-length", str(len(response.content)).encode()))
        await self._send(start)
        await self._send({"type": "http.response.body", "body": b"" if head else response.content})

    async def begin(self, response: HttpResponseBase) -> None:
        """Send the status and the headers of a response, whose body is then sent as a stream."""
        await self._send(start_of(response))

    async def stream(self, body: AsyncGenerator[bytes], *, head: bool) -> None:
        """Send an asynchronous body until it ends or the client leaves."""
        sending = asyncio.ensure_future(self._send_each(body, head=head))
        leaving = asyncio.ensure_future(self._until_it_leaves())
        try:
            await asyncio.wait({sending, leaving}, return_when=FIRST_COMPLETED)
            if sending.done():
                sending.result()
        finally:
            leaving.cancel()
            sending.cancel()
            await asyncio.gather(sending, leaving, return_exceptions=True)

    def download(self, response: Any, loop: asyncio.AbstractEventLoop, *, head: bool) -> Any:
        """Send a synchronous body from a thread that is not the loop's, as fast as the client takes it."""

        def send(message: Message) -> None:
            asyncio.run_coroutine_threadsafe(self._send(message), loop).result()

        leaving = asyncio.run_coroutine_threadsafe(self._until_it_leaves(), loop)
        try:
            send(start_of(response))
            for chunk in [] if head else _joined(response):
                if leaving.done():
                    break
                send({"type": "http.response.body", "body": chunk, "more_body": True})
            send({"type": "http.response.body"})
        finally:
            leaving.cancel()
        return response

    async def _send_each(self, body: AsyncGenerator[bytes], *, head: bool) -> None:
        async with aclosing(body):
            if not head:
                async for chunk in body:
                    await self._send({"type": "http.response.body", "body": chunk, "more_body": True})
            await self._send({"type": "http.response.body"})

    async def _until_it_leaves(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass


def start_of(response: HttpResponseBase) -> Message:
    """The status and headers of a response as ASGI sends them; the headers as WSGI has had them, if it has."""
    cookies = (("Set-Cookie", morsel.OutputString()) for morsel in response.cookies.values())
    pairs = getattr(response, STARTED, None) or [*response.items(), *cookies]
    headers = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in pairs]
    return {"type": "http.response.start", "status": response.status_code, "headers": headers}


def gathered(response: Any) -> HttpResponse | None:
    """A synchronous stream as a response that is there as a whole; None if it is long, and then it is left whole."""
    chunks, kept, size = iter(response), [], 0
    for chunk in chunks:
        kept.append(chunk)
        size += len(chunk)
        if size > GATHERED:
            response.streaming_content = chain(kept, chunks)
            return None
    whole = HttpResponse(b"".join(kept), status=response.status_code)
    whole.headers, whole.cookies = response.headers, response.cookies
    return whole


def _joined(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The same bytes in chunks of about CHUNK, because each chunk costs a change of thread."""
    kept, size = [], 0
    for chunk in chunks:
        kept.append(chunk)
        size += len(chunk)
        if size >= CHUNK:
            yield b"".join(kept)
            kept, size = [], 0
    yield b"".join(kept)
