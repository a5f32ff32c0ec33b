"""Two web servers behind nginx and haproxy are restarted one after the other, under load that tries nothing again."""

import json
import logging
import random
import signal
import socket
import socketserver
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.journeys.balancers import HAPROXY, NGINX, Balancer
from tests.journeys.deployment import Deployment, Server, eventually
from tests.journeys.sse import Stream, listening

logger = logging.getLogger(__name__)  # --log-cli-level=INFO shows the figures

BEHIND_TLS = {"NUM_PROXIES": "1", "SECURE_SSL_REDIRECT": "on", "SECURE_HSTS_SECONDS": "3600"}
ANSWERS = {201, 202, 200}


class Clients:
    """People who send commands and queries through a balancer. `got` counts answers; `failed` says what failed."""

    def __init__(self, balancer: Balancer, token: str, name: str) -> None:
        self.balancer, self.token, self.name = balancer, token, name
        self.got: Counter[int] = Counter()
        self.failed: list[str] = []
        self.stop = threading.Event()

    def work(self, number: int) -> None:
        with self.balancer.client(self.token) as client:
            for step in count():
                if self.stop.is_set():
                    return
                try:
                    self._step(client, f"{self.name}-{number}-{step}", step)
                except httpx.TransportError as error:
                    self.failed.append(repr(error))

    def _step(self, client: httpx.Client, name: str, step: int) -> None:
        if step % 3:
            answer = client.get("/api/users/?limit=5")
        else:
            answer = client.post("/api/users/", json={"email": f"{name}@example.org", "name": name})
        self.got[answer.status_code] += 1
        if answer.status_code not in ANSWERS:
            self.failed.append(f"{answer.request.method} {answer.status_code} {answer.text[:200]}")


class Listener:
    """Follows the live stream as a browser does: when it ends, it comes again, with the last id that it has seen."""

    def __init__(self, balancer: Balancer, token: str) -> None:
        self.balancer, self.token = balancer, token
        self.positions: list[int] = []
        self.last_id, self.refused, self.opened = "events:0", [], 0  # type: ignore[var-annotated]
        self.stop = threading.Event()

    def follow(self) -> None:
        with self.balancer.client(self.token) as client:
            while not self.stop.is_set():
                self._once(client)
                self.stop.wait(1.0)  # as `retry` says

    def _once(self, client: httpx.Client) -> None:
        headers = {"Accept": "text/event-stream", "Last-Event-ID": self.last_id}
        with client.stream("GET", "/api/events/stream/", headers=headers) as response:
            self.opened += 1
            if response.status_code != 200:  # a browser would give up for good
                self.refused.append(response.status_code)
                return
            stream = Stream(response)
            for message in stream.messages():
                self.last_id = stream.last_id
                if message.get("event") != "stream-open":
                    self.positions.append(json.loads(message["data"])["position"])
                if self.stop.is_set():
                    return


@contextmanager
def running(crowds: dict[str, tuple[Clients, Listener]]) -> Iterator[None]:
    """Let all of them work until the end of the block, two clients and a listener for each balancer."""
    work: list[Any] = [partial(clients.work, number) for clients, _ in crowds.values() for number in range(2)]
    work += [listener.follow for _, listener in crowds.values()]
    threads = [threading.Thread(target=each, daemon=True) for each in work]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        for clients, listener in crowds.values():
            clients.stop.set()
            listener.stop.set()
    for thread in threads:
        thread.join(timeout=30)
        assert not thread.is_alive()


def lasting_port() -> int:
    """A port for a server that comes back to it: none that a connection to elsewhere may take meanwhile."""
    for port in random.sample(range(10_000, 30_000), 100):
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError("no port is free")


def restart(deployment: Deployment, stack: ExitStack, server: Server) -> Server:
    """Stop a server as a supervisor does, and start it again on its port; the next may follow when it is ready."""
    server.process.send_signal(signal.SIGTERM)
    server.process.wait(timeout=15)
    new = stack.enter_context(deployment.server(port=server.port, **BEHIND_TLS))
    eventually(lambda: new.client.get("/readyz").status_code == 200)
    return new


def roll(deployment: Deployment, directory: Path, rounds: int) -> dict[str, tuple[Clients, Listener]]:
    """Restart both servers a number of times, while people work through both balancers."""
    ports = (lasting_port(), lasting_port())
    with ExitStack() as stack:
        servers = [stack.enter_context(deployment.server(port=port, **BEHIND_TLS)) for port in ports]
        seen: dict[str, tuple[Clients, Listener]] = {}
        for kind in (NGINX, HAPROXY):
            balancer = stack.enter_context(Balancer(kind, directory / kind, ports).running())
            seen[kind] = (Clients(balancer, deployment.token, kind), Listener(balancer, deployment.token))
        with running(seen):
            eventually(lambda: all(clients.got[201] for clients, _ in seen.values()))
            for _ in range(rounds):
                servers = [restart(deployment, stack, server) for server in servers]
            servers[0].client.headers["X-Forwarded-Proto"] = "https"
            last = servers[0].register(1).json()["position"]
            eventually(lambda: all(last in listener.positions for _, listener in seen.values()), 30)
            for clients, listener in seen.values():
                clients.stop.set()
                listener.stop.set()
            assert servers[0].register(2).status_code == 201  # with which the streams end
    return seen


def check(deployment: Deployment, seen: dict[str, tuple[Clients, Listener]]) -> None:
    log = [position for [position] in deployment.query("eventlog", "SELECT position FROM eventlog_event ORDER BY 1")]
    for kind, (clients, listener) in seen.items():
        got, heard = dict(clients.got), len(listener.positions)
        logger.info(
            "%s: %s, %d failed; %d events by %d streams", kind, got, len(clients.failed), heard, listener.opened
        )
        assert (kind, clients.failed) == (kind, [])
        assert sum(clients.got.values()) > 50, kind
        assert (kind, listener.refused) == (kind, [])
        assert listener.positions == log[: len(listener.positions)], kind


def test_a_rolling_restart_fails_no_request_and_leaves_no_gap(deployment: Deployment, tmp_path: Path) -> None:
    check(deployment, roll(deployment, tmp_path, 1))


@pytest.mark.nightly
@pytest.mark.timeout(900)
def test_ten_rolling_restarts_fail_no_request_and_leave_no_gap(deployment: Deployment, tmp_path: Path) -> None:
    check(deployment, seen := roll(deployment, tmp_path, 10))
    assert all(listener.opened > 5 for _, listener in seen.values())


class Once(socketserver.StreamRequestHandler):
    """Answers the first request of a connection, keeps it open, and closes it when there is another."""

    again: list[bytes] = []

    def handle(self) -> None:
        while self.rfile.readline().strip():
            pass
        self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        if another := self.rfile.readline():
            self.again.append(another)


@pytest.mark.django_db(databases=[])
@pytest.mark.parametrize("kind", [NGINX, HAPROXY])
def test_a_balancer_sends_nothing_on_a_connection_that_a_server_may_just_close(tmp_path: Path, kind: str) -> None:
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Once) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        port = server.server_address[1]
        with Balancer(kind, tmp_path / kind, (port, port)).running() as balancer, balancer.client() as client:
            answers = [client.request(method, "/livez").status_code for method in ("GET", "POST") * 10]
        server.shutdown()
    assert (answers, Once.again) == ([200] * 20, [])


def test_a_server_that_stops_is_not_ready_and_closes_each_connection_with_an_answer(deployment: Deployment) -> None:
    with deployment.server(DRAIN_SECONDS="2") as server, httpx.Client(base_url=server.url) as idle:
        assert idle.get("/livez").headers.get("Connection") != "close"
        with listening(server) as stream:
            server.process.send_signal(signal.SIGTERM)
            server.process.send_signal(signal.SIGTERM)  # a supervisor may send it twice
            ready = server.client.get("/readyz")
            assert (ready.status_code, ready.json()) == (503, {"server": "stopping"})
            assert ready.headers["Connection"] == "close"
            answer = server.register(1)
            assert (answer.status_code, answer.headers["Connection"]) == (201, "close")
            assert list(stream.messages()) == []
        assert idle.get("/livez").headers["Connection"] == "close"
        with server.client.stream("GET", "/api/events/stream/") as again:
            assert again.status_code == 200  # on any other status a browser would give up for good
            assert "retry: 1000" in again.read().decode()
        assert server.process.wait(timeout=10) in (0, -signal.SIGTERM)


def test_each_connection_that_a_stopping_server_takes_is_answered(deployment: Deployment) -> None:
    """Or it is refused: then a balancer knows that nothing was sent, and asks another server."""
    ended: Counter[str] = Counter()

    def knock(url: str) -> None:
        while "ConnectError" not in ended:
            try:
                ended[str(httpx.post(f"{url}/api/users/", json={}, timeout=20).status_code)] += 1
            except httpx.TransportError as error:
                ended[type(error).__name__] += 1

    with deployment.server(DRAIN_SECONDS="0.5") as server:
        threads = [threading.Thread(target=knock, args=[server.url]) for _ in range(8)]
        for thread in threads:
            thread.start()
        eventually(lambda: ended["400"] > 10)
        server.process.send_signal(signal.SIGTERM)
        for thread in threads:
            thread.join(timeout=30)
        assert set(ended) == {"400", "ConnectError"}


def test_ctrl_c_stops_a_server_at_once(deployment: Deployment) -> None:
    with deployment.server(DRAIN_SECONDS="60") as server:
        server.process.send_signal(signal.SIGTERM)
        eventually(partial(stops, server))
        server.process.send_signal(signal.SIGINT)
        server.process.wait(timeout=10)


def stops(server: Server) -> bool:
    """Does it say so? A connection that it has just closed may be met; it is tried again."""
    try:
        return server.client.get("/readyz").status_code == 503
    except httpx.TransportError:
        return False
