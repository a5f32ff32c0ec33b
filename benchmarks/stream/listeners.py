"""Many clients of a stream in one process, by raw sockets and epoll. They read ids and take the time, nothing else."""

import multiprocessing
import multiprocessing.connection
import select
import socket
import time
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple

EVENT = b"event: message\nid: events:"
AT_ONCE = 20  # connections being opened


@dataclass(slots=True)
class Client:
    """One connection: the ids it was sent and when. `left` is the beginning of a message that is not complete."""

    connection: socket.socket
    opened: bool = False
    left: bytes = b""
    ids: "array[int]" = field(default_factory=lambda: array("q"))
    times: "array[float]" = field(default_factory=lambda: array("d"))

    def read(self) -> bool:
        """Read what has arrived; False at the end of the stream."""
        try:
            data = self.connection.recv(262144)
        except OSError:
            return False
        if not data:
            return False
        now, data = time.monotonic(), self.left + data
        self.opened = self.opened or b"stream-open" in data
        whole = data.rfind(b"\n\n") + 2
        if whole > 1:
            for part in data[:whole].split(EVENT)[1:]:
                id = part[: part.index(b"\n")]
                self.ids.append(int(id.rpartition(b":")[2]))
                self.times.append(now)
            self.left = data[whole:]
        else:
            self.left = data
        return True


class Tally(NamedTuple):
    """Counts of events over all clients, and latencies in ms from commit to client."""

    opened: int
    delivered: int
    lost: int
    doubled: int
    disordered: int
    p50: float
    p99: float


class Crowd:
    """The clients, in a process of their own; `finish` counts what they got."""

    def __init__(self, pipe: multiprocessing.connection.Connection) -> None:
        self.pipe = pipe

    def opened(self) -> int:
        """Wait until all connections are open or refused; returns how many are open."""
        return int(self.pipe.recv())

    def finish(self, committed: dict[int, float], patience: float) -> Tally:
        """Wait until every client has every event, at most `patience` seconds, and count."""
        self.pipe.send((committed, patience))
        return self.pipe.recv()


@contextmanager
def listening(port: int, requests: list[bytes], timeout: float = 60) -> Iterator[Crowd]:
    """One client for each request."""
    ours, theirs = multiprocessing.Pipe()
    crowd = multiprocessing.get_context("spawn").Process(
        target=_run, args=(port, requests, theirs, timeout), daemon=True
    )
    crowd.start()
    yield Crowd(ours)
    crowd.join(timeout=20)
    crowd.kill()


def request(path: str, token: str = "") -> bytes:
    credentials = f"Authorization: Bearer {token}\r\n" if token else ""
    return f"GET {path} HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n{credentials}\r\n".encode()


def _run(port: int, requests: list[bytes], pipe: multiprocessing.connection.Connection, timeout: float) -> None:
    poll, clients = select.epoll(), dict[int, Client]()
    poll.register(pipe.fileno(), select.EPOLLIN)
    deadline, waiting = time.monotonic() + timeout, list(requests)
    while time.monotonic() < deadline and (waiting or not all(client.opened for client in clients.values())):
        if waiting and sum(not client.opened for client in clients.values()) < AT_ONCE:
            connection = socket.create_connection(("127.0.0.1", port))
            connection.sendall(waiting.pop())
            clients[connection.fileno()] = Client(connection)
            poll.register(connection, select.EPOLLIN)
        _read(poll, clients, 0 if waiting else 0.1)
    pipe.send(sum(client.opened for client in clients.values()))
    while not pipe.poll():
        _read(poll, clients, 1.0)
    committed, patience = pipe.recv()
    poll.unregister(pipe.fileno())
    deadline, last = time.monotonic() + patience, max(committed)
    while time.monotonic() < deadline and any(not each.ids or each.ids[-1] < last for each in clients.values()):
        _read(poll, clients, 0.1)
    pipe.send(_tally([client for client in clients.values() if client.opened], committed))


def _read(poll: select.epoll, clients: dict[int, Client], timeout: float) -> None:
    for number, _ in poll.poll(timeout):
        client = clients.get(number)
        if client and not client.read():
            poll.unregister(number)


def _tally(clients: list[Client], committed: dict[int, float]) -> Tally:
    latencies, lost, doubled, disordered = array("d"), 0, 0, 0
    for client in clients:
        seen = {position for position in client.ids if position in committed}
        lost += len(committed) - len(seen)
        doubled += len(client.ids) - len(set(client.ids))
        disordered += sum(two < one for one, two in zip(client.ids, client.ids[1:], strict=False))
        pairs = zip(client.ids, client.times, strict=True)
        latencies.extend(1000 * (at - committed[position]) for position, at in pairs if position in committed)
    ordered = sorted(latencies) or [float("nan")]
    p50, p99 = (ordered[int(len(ordered) * part)] for part in (0.5, 0.99))
    return Tally(len(clients), len(latencies), lost, doubled, disordered, p50, p99)
