"""What one client may do to a server, by many connections at once, until it is told to stop."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress

from tests.journeys.deployment import Server

BUNDLE = "/static/drf_spectacular_sidecar/swagger-ui-dist/swagger-ui-bundle.js"  # 1.4 MB
LARGE = 2_400_000  # bytes of a body that is only just accepted
FAR = 10**12

Attack = Callable[[Server, int], Awaitable[None]]


@contextmanager
def attacking(server: Server, attack: Attack, number: int) -> Iterator[None]:
    """So many attackers at once; each begins anew when its connection is gone, until this block ends."""
    stop = threading.Event()
    thread = threading.Thread(target=lambda: asyncio.run(_crowd(server, attack, number, stop)), daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(20)
        assert not thread.is_alive()


async def _crowd(server: Server, attack: Attack, number: int, stop: threading.Event) -> None:
    tasks = [asyncio.create_task(_again(server, attack, each)) for each in range(number)]
    while not stop.is_set():
        await asyncio.sleep(0.05)
        for task in tasks:
            if task.done():
                task.result()  # an attacker that fails is no attack
    # The loop cancels the tasks when it ends.


async def _again(server: Server, attack: Attack, number: int) -> None:
    while True:
        with suppress(OSError, asyncio.IncompleteReadError):
            await attack(server, number)
        await asyncio.sleep(0.5)


@asynccontextmanager
async def connected(
    server: Server, limit: int = 2**16
) -> AsyncIterator[tuple[asyncio.StreamReader, Callable[..., Awaitable[None]]]]:
    """A connection, and a function that sends on it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port, limit=limit)

    async def send(data: bytes) -> None:
        writer.write(data)
        await writer.drain()

    try:
        yield reader, send
    finally:
        writer.transport.abort()


def head(method: str, path: str, *headers: str) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", "Content-Type: application/json", *headers, "", ""]
    return "\r\n".join(lines).encode()


async def leave_a_login(server: Server, number: int) -> None:
    """Send a login, and leave before the answer."""
    body = json.dumps({"username": f"nobody{number}", "password": "x" * 20}).encode()
    async with connected(server) as (_, send):
        await send(head("POST", "/api/auth/login/", f"Content-Length: {len(body)}") + body)
        await asyncio.sleep(0.05)


async def wait_for_the_future(server: Server, number: int) -> None:
    """Ask for a position that nothing will ever show: one beyond the log, or one that nobody projects."""
    position = FAR if number % 2 else 1
    token, wait = f"Authorization: Bearer {server.token}", f"Min-Event-Position: {position}"
    async with connected(server) as (reader, send):
        await send(head("GET", "/api/users/?limit=1", token, wait, "Connection: close"))
        await reader.read()


async def send_a_head_slowly(server: Server, number: int) -> None:
    async with connected(server) as (reader, send):
        await _drip(reader, send, head("GET", "/api/users/").strip())


async def send_a_body_slowly(server: Server, number: int) -> None:
    async with connected(server) as (reader, send):
        await send(head("POST", "/api/users/", f"Content-Length: {LARGE}"))
        await _drip(reader, send, b"{")


async def _drip(reader: asyncio.StreamReader, send: Callable[..., Awaitable[None]], data: bytes) -> None:
    """Send data, and then a byte five times a second until the server cuts the connection."""
    await send(data)
    while not reader.at_eof() and reader.exception() is None:
        await asyncio.sleep(0.2)
        await send(b"x")


async def send_a_head_without_end(server: Server, number: int) -> None:
    async with connected(server) as (_, send):
        await send(head("GET", "/api/users/").strip() + b"\r\nX-Long: ")
        for _ in range(1000):
            await send(b"x" * 100_000)
            await asyncio.sleep(0.01)


async def keep_a_large_body_back(server: Server, number: int) -> None:
    """Send all of a large body but its last byte, and wait."""
    async with connected(server) as (reader, send):
        await send(head("POST", "/api/users/", f"Content-Length: {LARGE}") + b" " * (LARGE - 1))
        await reader.read()


async def send_a_large_body(server: Server, number: int) -> None:
    body = json.dumps({"email": "a@example.org", "name": "x" * (LARGE - 100)}).encode()
    async with connected(server) as (reader, send):
        await send(head("POST", "/api/users/", f"Content-Length: {len(body)}", "Connection: close") + body)
        await reader.read()


async def take_no_answer(server: Server, number: int) -> None:
    """Ask for a large file several times on one connection, and read nothing."""
    async with connected(server, limit=1) as (_, send):
        await send(head("GET", BUNDLE) * 4)
        while True:
            await asyncio.sleep(0.2)
            await send(b"\r\n")  # which says nothing; only so is it noticed that the server is gone


async def connect_and_say_nothing(server: Server, number: int) -> None:
    async with connected(server) as (reader, _):
        await reader.read()


def ask(path: str, token: str) -> Attack:
    """Send a query again and again, each time with this token."""

    async def attack(server: Server, number: int) -> None:
        async with connected(server) as (reader, send):
            await send(head("GET", path, f"Authorization: Bearer {token}", "Connection: close"))
            await reader.read()

    return attack
