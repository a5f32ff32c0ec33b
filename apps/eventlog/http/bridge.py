"""One ASGI application for everything: Django in a fixed pool of threads, streams on the event loop.

Django's own ASGI handler makes a thread for each request, which slows a synchronous API by two to
six times and can exhaust PostgreSQL's connections. Here a request's body is read whole, Django's
WSGI handler runs in one of a few threads, each with its own lasting connections, and only a
response with an asynchronous body (the live stream) stays on the loop, holding no thread.
"""

import asyncio
import io
import sys
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from django.conf import settings
from django.core.handlers.wsgi import WSGIHandler, WSGIRequest
from django.core.signals import request_finished, request_started
from django.http import StreamingHttpResponse
from django.http.response import HttpResponseBase

from apps.eventlog.http.problems import problem

Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Coroutine[Any, Any, None]]

MARGIN = 64 * 1024  # a body this much over the limit is read, so that Django can refuse it by itself


class Bridge:
    """Serves Django over ASGI with so many threads."""

    def __init__(self, threads: int) -> None:
        self.handler = WSGIHandler()
        self.pool = ThreadPoolExecutor(threads, thread_name_prefix="django")

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise ValueError(f"no {scope['type']} here")
        body = await _read(receive)
        loop = asyncio.get_running_loop()
        if body is None:
            response: HttpResponseBase = problem(413, "the body is too large")
        else:
            response = await loop.run_in_executor(self.pool, self._respond, _environ(scope, body), loop, send)
        if isinstance(response, StreamingHttpResponse):
            if response.is_async:
                await _stream(response, receive, send)
        else:
            await _start(response, send)
            content = b"" if scope["method"] == "HEAD" else response.content  # type: ignore[attr-defined]
            await send({"type": "http.response.body", "body": content})

    def _respond(self, environ: dict[str, Any], loop: asyncio.AbstractEventLoop, send: Send) -> HttpResponseBase:
        """Run Django in this thread; a synchronous stream is also sent from here, at the client's pace."""
        request_started.send(sender=Bridge, environ=environ)
        try:
            response = self.handler.get_response(WSGIRequest(environ))
            if isinstance(response, StreamingHttpResponse) and not response.is_async:
                asyncio.run_coroutine_threadsafe(_start(response, send), loop).result()
                for chunk in response if environ["REQUEST_METHOD"] != "HEAD" else ():
                    more = {"type": "http.response.body", "body": chunk, "more_body": True}
                    asyncio.run_coroutine_threadsafe(send(more), loop).result()
                asyncio.run_coroutine_threadsafe(send({"type": "http.response.body"}), loop).result()
                response.close()
        finally:
            request_finished.send(sender=Bridge)
        return response


async def _read(receive: Receive) -> bytes | None:
    """The whole body, or None where it is larger than Django would take."""
    chunks: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return b"".join(chunks)
        chunks.append(message.get("body", b""))
        size += len(chunks[-1])
        if size > settings.DATA_UPLOAD_MAX_MEMORY_SIZE + MARGIN:
            return None
        if not message.get("more_body"):
            return b"".join(chunks)


async def _start(response: HttpResponseBase, send: Send) -> None:
    headers = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in response.items()]
    headers += [(b"set-cookie", morsel.OutputString().encode("latin-1")) for morsel in response.cookies.values()]
    await send({"type": "http.response.start", "status": response.status_code, "headers": headers})


async def _stream(response: StreamingHttpResponse, receive: Receive, send: Send) -> None:
    """Send an asynchronous body until it ends or the client leaves."""

    async def chunks() -> None:
        await _start(response, send)
        async for chunk in response:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body"})

    async def gone() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    tasks = {asyncio.ensure_future(chunks()), asyncio.ensure_future(gone())}
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _environ(scope: Message, body: bytes) -> dict[str, Any]:
    """The WSGI environ (PEP 3333) of an ASGI request."""
    server, client = scope.get("server") or ("localhost", 80), scope.get("client") or ("", 0)
    environ: dict[str, Any] = {
        "REQUEST_METHOD": scope["method"],
        "SCRIPT_NAME": scope.get("root_path", ""),
        "PATH_INFO": scope["path"].encode().decode("latin-1"),
        "QUERY_STRING": scope["query_string"].decode("latin-1"),
        "SERVER_NAME": server[0],
        "SERVER_PORT": str(server[1]),
        "SERVER_PROTOCOL": f"HTTP/{scope['http_version']}",
        "REMOTE_ADDR": client[0],
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": scope.get("scheme", "http"),
        "wsgi.input": io.BytesIO(body),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
        "asgi": True,
    }
    for name, value in scope["headers"]:
        if b"_" in name:  # would collide with the same name spelled with a dash
            continue
        key = name.decode("latin-1").upper().replace("-", "_")
        key = key if key in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{key}"
        text = value.decode("latin-1")
        environ[key] = f"{environ[key]},{text}" if key in environ else text
    environ["CONTENT_LENGTH"] = str(len(body))
    return environ
