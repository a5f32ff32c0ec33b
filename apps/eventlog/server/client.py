"""The client's end of a request: its body is read whole, and it must take in time what it is sent."""

import asyncio
import math
from asyncio import FIRST_COMPLETED
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Iterable, Iterator
from contextlib import aclosing
from typing import Any

from django.conf import settings
from django.http.response import HttpResponseBase

Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Coroutine[Any, Any, None]]

MARGIN = 64 * 1024  # a body this many bytes over the limit is kept, so that Django refuses it in its own words
MOST_READ = 64 * 1024 * 1024  # bytes of a body that is too large: some clients read no answer before they have sent all
CHUNK = 64 * 1024  # bytes of a download that are sent at once, about


class Left(Exception):
    """The client left before its request was whole."""


class Client:
    """Receives from one client, and sends to it. When the client leaves, sending ends.

    A client that takes nothing of what it is sent for CLIENT_PATIENCE seconds is cut off.
    """

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive, self._send = receive, send
        self._waiting_since = math.inf  # when the message that the client has not taken yet was sent

    async def body(self) -> bytes | None:
        """The whole body; None if it is larger than Django would take. Raises `Left`."""
        body, size = bytearray(), 0  # one array, because a client may send each byte by itself
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise Left
            body += message.get("body", b"")
            size += len(message.get("body", b""))
            too_large = size > settings.DATA_UPLOAD_MAX_MEMORY_SIZE + MARGIN
            if too_large:
                body.clear()
            if not message.get("more_body") or size > MOST_READ:
                return None if too_large else bytes(body)

    async def send(self, response: Any, *, head: bool) -> None:
        """Send a response that is there as a whole."""
        response.headers.setdefault("Content-Length", str(len(response.content)))
        await self._send(start_of(response))
        await self._send({"type": "http.response.body", "body": b"" if head else response.content})

    async def stream(self, start: Message, body: AsyncGenerator[bytes], *, head: bool) -> None:
        """Send an asynchronous body until it ends or the client leaves."""
        sending = asyncio.ensure_future(self._send_each(start, body, head=head))
        leaving = asyncio.ensure_future(self._until_it_leaves())
        loop, patience = asyncio.get_running_loop(), settings.CLIENT_PATIENCE
        try:
            # One timer for each client. One for each message would cost more than the message.
            while not (await asyncio.wait({sending, leaving}, timeout=patience / 2, return_when=FIRST_COMPLETED))[0]:
                if loop.time() - self._waiting_since > patience:
                    return self._cut_off()
            if sending.done():
                sending.result()
        finally:
            leaving.cancel()
            sending.cancel()
            await asyncio.gather(sending, leaving, return_exceptions=True)

    def download(self, response: Any, loop: asyncio.AbstractEventLoop, *, head: bool) -> None:
        """Send a synchronous body from a thread that is not the loop's, as fast as the client takes it."""

        def send(message: Message) -> None:
            asyncio.run_coroutine_threadsafe(self._send(message), loop).result(settings.CLIENT_PATIENCE)

        leaving = asyncio.run_coroutine_threadsafe(self._until_it_leaves(), loop)
        try:
            send(start_of(response))
            for chunk in [] if head else _joined(response):
                if leaving.done():
                    return
                send({"type": "http.response.body", "body": chunk, "more_body": True})
            send({"type": "http.response.body"})
        except TimeoutError:
            loop.call_soon_threadsafe(self._cut_off)
        finally:
            leaving.cancel()

    async def _send_each(self, start: Message, body: AsyncGenerator[bytes], *, head: bool) -> None:
        clock = asyncio.get_running_loop().time
        async with aclosing(body):
            await self._send(start)
            if not head:
                async for chunk in body:
                    self._waiting_since = clock()
                    await self._send({"type": "http.response.body", "body": chunk, "more_body": True})
                    self._waiting_since = math.inf
            await self._send({"type": "http.response.body"})

    def _cut_off(self) -> None:
        """Drop the connection at once. Closing it would wait until the client has taken the rest.

        ASGI has no message for this, so it works only if uvicorn serves: its `send` leads to the connection.
        """
        transport = getattr(getattr(self._send, "__self__", None), "transport", None)
        if transport is not None:
            transport.abort()

    async def _until_it_leaves(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass


def start_of(response: HttpResponseBase) -> Message:
    """The status and headers of a response as ASGI sends them."""
    headers = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in response.items()]
    headers += [(b"set-cookie", morsel.OutputString().encode("latin-1")) for morsel in response.cookies.values()]
    return {"type": "http.response.start", "status": response.status_code, "headers": headers}


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
