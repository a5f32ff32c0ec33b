"""A receiver of webhooks on loopback: a real HTTP server in a thread, which takes, refuses, hangs or vanishes.

    with Receiver() as receiver:
        receiver.url("a")                    an endpoint of its own for each name
        receiver.behave("a", answers(500))   from now on, of that endpoint
        receiver.got["a"]                    what it has taken, as `Got`

Each request that is answered is checked by the `standardwebhooks` package if the receiver knows the secret.
"""

import asyncio
import threading
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

import msgspec
from standardwebhooks import Webhook

Behaviour = Callable[[dict[str, Any]], Awaitable[bytes | None]]
REASONS = {200: "OK", 204: "No Content", 302: "Found", 410: "Gone", 429: "Too Many Requests"}


class Got(NamedTuple):
    """A request that was answered 2xx: its headers, its body as JSON, and when it came."""

    headers: dict[str, str]
    document: dict[str, Any]
    at: float


def answer(status: int, headers: str = "", body: bytes = b"") -> bytes:
    head = f"HTTP/1.1 {status} {REASONS.get(status, 'Whatever')}\r\ncontent-length: {len(body)}\r\n{headers}\r\n"
    return head.encode() + body


def answers(status: int, headers: str = "") -> Behaviour:
    async def behave(document: dict[str, Any]) -> bytes:
        return answer(status, headers)

    return behave


takes = answers(204)


async def hangs(document: dict[str, Any]) -> bytes:
    await asyncio.sleep(3600)
    return b""


async def vanishes(document: dict[str, Any]) -> None:
    """It closes the connection instead of an answer."""


class Receiver:
    def __init__(self) -> None:
        self.got: dict[str, list[Got]] = defaultdict(list)
        self.tried: dict[str, list[str]] = defaultdict(list)  # the ids of all requests, answered or not
        self.secrets: dict[str, str] = {}
        self.faults: list[str] = []
        self.port = 0
        self._behaviour: dict[str, Behaviour] = {}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._started = threading.Event()

    def __enter__(self) -> "Receiver":
        self._thread.start()
        assert self._started.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join(10)
        assert self.faults == []

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.port}/{name}"

    def behave(self, name: str, behaviour: Behaviour) -> None:
        self._behaviour[name] = behaviour

    def positions(self, name: str) -> list[int]:
        return [each.document["position"] for each in self.got[name]]

    def _run(self) -> None:
        self._loop.run_until_complete(self._serve())

    async def _serve(self) -> None:
        self._ended, self._open = asyncio.Event(), set[asyncio.Task[None]]()
        server = await asyncio.start_server(self._connection, "127.0.0.1", self.port, backlog=2048)
        self.port = server.sockets[0].getsockname()[1]
        self._started.set()
        await self._ended.wait()
        server.close()
        for task in self._open:
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task: Any = asyncio.current_task()
        self._open.add(task)
        try:
            while await self._request(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the sender has left, or the receiver ends
        finally:
            self._open.discard(task)
            writer.close()

    async def _request(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = dict(line.split(": ", 1) for line in head[1:] if line)
        headers = {name.lower(): value for name, value in headers.items()}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        name, document = head[0].split(" ")[1].lstrip("/"), msgspec.json.decode(body)
        self.tried[name].append(headers["webhook-id"])
        self._check(name, headers, body)
        sent = await self._behaviour.get(name, takes)(document)
        if sent is None:
            return False
        if sent.startswith(b"HTTP/1.1 2"):
            self.got[name].append(Got(headers, document, time.time()))
        writer.write(sent)
        await writer.drain()
        return headers.get("connection") != "close"

    def _check(self, name: str, headers: dict[str, str], body: bytes) -> None:
        try:
            if name in self.secrets:
                Webhook(self.secrets[name]).verify(body, headers)
        except Exception as error:
            self.faults.append(f"{name}: {error!r}")
