"""Sends requests to endpoints from one event loop, in a thread: an endpoint that hangs holds no thread.

It follows no redirect, believes no proxy of the environment, unpacks nothing, and reads a few kilobytes of an answer.
"""

import asyncio
import os
import resource
import socket
import ssl
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any

from aiohttp import ClientError, ClientResponse, ClientSession, ClientTimeout, DummyCookieJar, TCPConnector
from aiohttp.abc import AbstractResolver, ResolveResult
from django.conf import settings
from django.utils import timezone
from yarl import URL

from apps.eventlog.relay.webhooks import addresses
from apps.eventlog.relay.webhooks.messages import Answer, Parcel
from apps.eventlog.relay.webhooks.retries import wish_of

MOST_OPEN = resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 4  # connections, so that others find files too
AT_ONCE = min(256, MOST_OPEN)  # requests on their way
CONNECT = 5.0  # seconds
KEPT_OPEN = 10.0  # seconds for which a connection waits for the next delivery
MOST_READ = 64 * 1024  # bytes of an answer; the connection of a longer one is closed
HEADERS = {"Content-Type": "application/json", "User-Agent": "Headrace"}


class Sender:
    """`with Sender() as sender`: send parcels, take the answers as they come. The end cuts off what is on its way."""

    def __init__(self) -> None:
        self._answers: SimpleQueue[Answer] = SimpleQueue()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="webhooks sender", daemon=True)
        self._tasks: set[asyncio.Task[None]] = set()  # the loop itself does not hold them
        self._ended = asyncio.Event()
        self.keeps_open = True  # do connections wait for the next delivery?

    def __enter__(self) -> "Sender":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join()

    def send(self, parcels: Sequence[Parcel]) -> None:
        if parcels:
            self._loop.call_soon_threadsafe(self._begin, parcels)

    def answers(self, timeout: float, together: float) -> list[Answer]:
        """The answers that have come. If there are none, wait for one for so many seconds, and then for a few more."""
        found = []
        with suppress(Empty):
            found.append(self._answers.get(timeout=timeout))
            time.sleep(together)
            while True:
                found.append(self._answers.get_nowait())
        return found

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._serve())
        finally:
            self._loop.close()

    async def _serve(self) -> None:
        self._room = asyncio.Semaphore(AT_ONCE)
        async with _session() as self._session:
            await self._ended.wait()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def _begin(self, parcels: Sequence[Parcel]) -> None:
        for parcel in parcels:
            task = self._loop.create_task(self._deliver(parcel))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _deliver(self, parcel: Parcel) -> None:
        async with self._room:
            try:
                answer = await self._post(parcel)
            except Exception as error:  # whatever it is, it is the fault of this endpoint, and no other's
                answer = Answer(parcel.key, None, _told(error))
        self._answers.put(answer)

    async def _post(self, parcel: Parcel) -> Answer:
        url = URL(parcel.url, encoded=True)
        headers = HEADERS | parcel.headers | ({} if self.keeps_open else {"Connection": "close"})
        async with self._session.post(url, data=parcel.body, headers=headers, allow_redirects=False) as response:
            if not 200 <= response.status < 300:
                wish = wish_of(response.headers.get("Retry-After"), timezone.now())
                return Answer(parcel.key, response.status, f"the answer was {response.status}", wish)
            await _read_a_little(response)
            return Answer(parcel.key, response.status)


async def _read_a_little(response: ClientResponse) -> None:
    """Read a short answer to its end, so that the connection can be used again. It was taken, whatever this finds."""
    left = MOST_READ
    with suppress(ClientError, TimeoutError):
        while left > 0 and (chunk := await response.content.read(left)):
            left -= len(chunk)


def _session() -> ClientSession:
    connector = TCPConnector(
        limit=0,  # the room for parcels is the limit; to wait here would count as the receiver's time
        resolver=Resolver(),
        socket_factory=_socket,
        keepalive_timeout=KEPT_OPEN,
    )
    return ClientSession(
        connector=connector,
        timeout=ClientTimeout(total=settings.WEBHOOKS_TIMEOUT, sock_connect=CONNECT),
        cookie_jar=DummyCookieJar(),
        auto_decompress=False,
        requote_redirect_url=False,
    )


class Resolver(AbstractResolver):
    """Finds the addresses of a name, of which each may be called; what it finds is kept for ten seconds."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        answers = await asyncio.wrap_future(addresses.look_up(host, port, family))
        return [
            ResolveResult(hostname=host, host=where[0], port=where[1], family=kind, proto=proto, flags=0)
            for kind, _, proto, _, where in answers
        ]

    async def close(self) -> None:
        """There is nothing to close."""


def _socket(info: Any) -> socket.socket:
    """A socket to connect to an address: every connection is made by one, also to an address that a URL names."""
    family, kind, proto, _, address = info
    addresses.check(address[0])
    return socket.socket(family=family, type=kind, proto=proto)


def _told(error: BaseException) -> str:
    """What went wrong, in a few words, without what was sent and without what a URL may hold."""
    causes = [error]
    while (cause := causes[-1].__cause__ or getattr(causes[-1], "os_error", None)) is not None:
        causes.append(cause)
    if refused := next((cause for cause in causes if isinstance(cause, addresses.Refused)), None):
        return f"not called: {refused}"
    if isinstance(error, TimeoutError):
        return f"no answer within {settings.WEBHOOKS_TIMEOUT:g} seconds"
    for cause in causes:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"the certificate is not valid: {cause.verify_message}"
        if isinstance(cause, OSError) and cause.strerror:
            return f"no connection: {os.strerror(cause.errno) if cause.errno and cause.errno > 0 else cause.strerror}"
    return f"no answer: {type(error).__name__}"
