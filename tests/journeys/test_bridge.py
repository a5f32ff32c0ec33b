"""The shipped server as HTTP sees it: what is read whole, what is sent piece by piece, and who leaves early."""

import asyncio
import re
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from django.http import HttpResponse

from apps.eventlog.server import asgi as module
from apps.eventlog.server.asgi import Bridge
from tests.journeys.deployment import ROOT, Deployment, Server, eventually
from tests.journeys.sse import as_customer, listening

SCRIPT = "eventlog/vendor/uPlot.iife.min.js"
WRITE_MUCH = """
from apps.eventlog import store
from apps.users.events import UserDeactivated
for version in range(1, 301, 10):
    store.append("user-{id}", [UserDeactivated("x" * 40_000)] * 10, expected_version=version)
"""


def test_downloads_bodies_and_heads_are_as_http_wants_them(deployment: Deployment) -> None:
    with deployment.server() as server:
        client = server.client
        static = client.get(f"/static/{SCRIPT}", headers={"Accept-Encoding": "identity"})
        assert static.content == (ROOT / "apps/eventlog/static" / SCRIPT).read_bytes()
        for path in (f"/static/{SCRIPT}", "/api/events/", "/api/events/stream/"):
            head = client.head(path)
            assert (path, head.status_code, head.content) == (path, 200, b"")
        assert client.post("/api/users/", content=b" " * 20_000_000).status_code == 413
        whole = b'{"email": "in-pieces@example.org", "name": "Pieces"}'
        headers = {"Content-Type": "application/json"}
        assert client.post("/api/users/", content=_pieces(whole), headers=headers).status_code == 201
        _leave_before_the_end(server, whole.replace(b"pieces", b"never"))
        assert client.get("/api/events/").json()["results"][-1]["data"]["email"] == "in-pieces@example.org"


def test_a_head_is_bounded_before_anything_reads_it(deployment: Deployment) -> None:
    heads: list[tuple[int, dict[str, str], str]] = [
        (431, {"Cookie": 'a="' + "\\" * 60_000 + '"'}, ""),
        (431, {"Cookie": 'a="' + "\\" * 20_000 + '"'}, ""),
        (431, {"Content-Type": 'application/json;x="' + ";" * 20_000}, ""),
        (431, {f"X-{n}": "x" for n in range(101)}, ""),
        (414, {}, "?cursor=" + "x" * 20_000),
        (400, {}, "?" + "a&" * 1000),
        (200, {"Cookie": 'a="' + r"\"" * 20 + '"; b=' + "x" * 4000}, ""),
    ]
    with deployment.server() as server:
        for status, headers, query in heads:
            began = time.monotonic()
            answer = server.client.get(f"/api/events/{query}", headers=headers)
            assert (answer.status_code, len(answer.content) < 5000 or status == 200) == (status, True)
            assert status == 200 or answer.headers["Content-Type"] == "application/problem+json"
            assert time.monotonic() - began < 1


def test_all_of_it_can_lie_below_a_path(deployment: Deployment) -> None:
    with deployment.server(SCRIPT_NAME="/shop") as server:
        created = server.register(1)
        assert created.headers["Location"] == f"{server.url}/shop/api/users/{created.json()['id']}/"
        for name in ("a", "b"):
            server.client.post("/api/users/", json={"email": f"{name}@example.org", "name": name})
        assert server.client.get("/api/users/?limit=2").json()["next"].startswith(f"{server.url}/shop/api/users/?")
        page = server.client.get("/").text
        links = re.findall(r'(?:href|src|action|data-[a-z]+)="(/[^"]*)"', page)
        assert links
        for link in links:
            assert link.startswith("/shop/")
            assert server.client.get(link.removeprefix("/shop"), follow_redirects=False).status_code < 400, link
        assert "servers:\n- url: /shop" in server.client.get("/api/schema/").text
        with listening(server) as stream:
            server.register(2)
            assert next(stream.documents())["type"] == "users.UserRegistered"


@pytest.mark.parametrize("turn", [60.0, module.TURN])
def test_reads_of_sqlite_take_turns_but_do_not_wait_for_one_that_hangs(
    monkeypatch: pytest.MonkeyPatch, turn: float
) -> None:
    bridge, go_on, began = Bridge(queries=3, commands=1, passwords=1, queue=9, in_turn=True), threading.Event(), []

    def respond(request: Any) -> HttpResponse:
        began.append(request.path)
        return HttpResponse(str(go_on.wait(30) if request.path == "/hangs" else True))

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b""}

    async def send(message: dict[str, Any]) -> None:
        assert message.get("status", 200) == 200

    async def ask(method: str, path: str) -> None:
        scope = {"type": "http", "http_version": "1.1", "query_string": b"", "headers": []}
        await bridge(scope | {"method": method, "path": path}, receive, send)

    async def run() -> None:
        hangs = asyncio.ensure_future(ask("GET", "/hangs"))
        async with asyncio.timeout(30):
            while not began:
                await asyncio.sleep(0.01)
        quick = asyncio.ensure_future(ask("GET", "/quick"))
        await asyncio.wait_for(ask("POST", "/writes"), 5)
        if turn > 1:
            assert began == ["/hangs", "/writes"]
            go_on.set()
        await asyncio.wait_for(quick, 5)
        go_on.set()
        await hangs

    monkeypatch.setattr(module, "TURN", turn)
    monkeypatch.setattr(bridge.handler, "get_response", respond)
    asyncio.run(run())


def _pieces(body: bytes) -> Iterator[bytes]:
    for start in range(0, len(body), 10):
        yield body[start : start + 10]


def _leave_before_the_end(server: Server, body: bytes) -> None:
    """Send a command whose body looks whole but is not: the last chunk is missing."""
    head = f"POST /api/users/ HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {server.token}\r\n"
    head += "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(head.encode() + b"%x\r\n%s\r\n" % (len(body), body))


def test_a_client_that_takes_nothing_is_cut_off_and_comes_back_without_a_gap(deployment: Deployment) -> None:
    with deployment.server(CLIENT_PATIENCE="0.5", STREAMS_PER_CUSTOMER="1") as server:
        user, headers = as_customer(server, 1)
        with socket.socket() as slow:
            slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            slow.connect(("127.0.0.1", server.port))
            request = (
                f"GET /api/events/stream/ HTTP/1.1\r\nHost: x\r\nAuthorization: {headers['Authorization']}\r\n\r\n"
            )
            slow.sendall(request.encode())
            assert b"stream-open" in slow.recv(4096) + slow.recv(4096)
            deployment.manage("shell", "-v0", "-c", WRITE_MUCH.format(id=user))
            eventually(lambda: not _is_streaming(server, headers))
            eventually(lambda: _is_cut(slow))
            taken = [int(id) for id in re.findall(rb"id: events:[0-9a-f]{8}:(\d+)\ndata: [^\n]*\n\n", _rest(slow))]
        assert len(taken) < 300
        with listening(server, last_id=f"events:{max([1, *taken])}", **headers) as stream:
            assert taken + stream.positions(300 - len(taken)) == list(range(2, 302))


def _is_streaming(server: Server, headers: dict[str, str]) -> bool:
    """Does the customer have the one stream open that they may have?"""
    with server.client.stream("GET", "/api/events/stream/", headers=headers) as response:
        return response.status_code == 429


def _is_cut(connection: socket.socket) -> bool:
    """Has the server let go of it, with what it had not sent yet? Then it resets what it is sent."""
    try:
        connection.send(b"x")
    except (ConnectionResetError, BrokenPipeError):
        return True
    return False


def _rest(connection: socket.socket) -> bytes:
    """What a cut connection still holds."""
    pieces = []
    connection.settimeout(5)
    try:
        while piece := connection.recv(65536):
            pieces.append(piece)
    except ConnectionResetError:
        pass
    return b"".join(pieces)
