"""`make bench-stream`: the live stream with 1,000 clients on one process, beside django-eventstream's own view.

Clients, writer and server share the machine. The writer is a process of its own; the time is taken when its append
has returned (for `send_event`, when it was asked for) and when a client's socket is read. Memory is what the server
grew by, connections the most that PostgreSQL saw beyond those that the idle server has for its requests.
"""

import argparse
import http.client
import json
import subprocess
import sys
import time
from collections.abc import Callable
from decimal import Decimal
from uuid import uuid4

from benchmarks import site
from benchmarks.stream import listeners

HEADER = (
    "| | clients | delivered | lost | doubled | out of order | p50 ms | p99 ms | kB a client | connections |\n"
    "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"
)


def append() -> tuple[int, float]:
    """Place an order in the log, from this process; returns the event's position and when it was committed."""
    from apps.eventlog import store
    from apps.orders.events import OrderLine, OrderPlaced

    line = OrderLine("A-1", 2, Decimal("12.50"))
    appended = store.append(f"order-{uuid4()}", [OrderPlaced(uuid4(), "EUR", (line,))], expected_version=0)
    return appended.position, time.monotonic()


def write(once: Callable[[], tuple[int, float]], rate: float, seconds: float) -> tuple[dict[int, float], int]:
    """Write at a steady rate; returns when each event was committed, and the most connections seen meanwhile."""
    committed, connections, began = {}, 0, time.monotonic()
    for number in range(int(rate * seconds)):
        time.sleep(max(0.0, began + number / rate - time.monotonic()))
        position, at = once()
        committed[position] = at
        connections = max(connections, site.database_connections())
    return committed, connections


def headrace(clients: int, rate: float, seconds: float) -> str:
    port, secrets = site.free_port(), site.tokens(clients)
    with site.shipped(port) as server:
        warm(port, secrets[0])
        memory, connections = site.memory(server.pid), site.database_connections()
        requests = [listeners.request("/api/events/stream/", token) for token in secrets]
        with listeners.listening(port, requests) as crowd:
            crowd.opened()
            committed, most = write(append, rate, seconds)
            grown = site.memory(server.pid) - memory
            tally = crowd.finish(committed, patience=20)
    return row("Headrace", tally, grown, most - connections)


def warm(port: int, token: str) -> None:
    """Send some requests at once, so that every thread of the pool opens the connections that it keeps."""
    for _ in range(3):
        several = [http.client.HTTPConnection("127.0.0.1", port) for _ in range(16)]
        for connection in several:
            connection.request("GET", "/api/events/?limit=1", headers={"Authorization": f"Bearer {token}"})
        for connection in several:
            connection.getresponse().read()
            connection.close()


def own_view(clients: int, rate: float, seconds: float) -> str:
    port = site.free_port()
    subprocess.run([sys.executable, "-m", "benchmarks.stream.eventstream_project"], cwd=site.ROOT, check=True)
    run = (*site.UVICORN, "benchmarks.stream.eventstream_project:application", "--port", str(port))
    with site.process(*run, port=port, quiet=True) as server:  # it logs an error a client that it cannot serve
        memory, connections = site.memory(server.pid), site.database_connections()
        with listeners.listening(port, [listeners.request("/events/")] * clients, timeout=30) as crowd:
            if crowd.opened() < clients:
                return f"| django-eventstream's own view | {clients} | not all could connect | | | | | | | |"
            committed, most = write(lambda: send(port), rate, seconds)
            grown = site.memory(server.pid) - memory
            tally = crowd.finish(committed, patience=20)
    return row("django-eventstream's own view", tally, grown, most - connections)


def send(port: int) -> tuple[int, float]:
    """Let the server call `send_event`, which reaches clients of its process only; returns the id and when we asked."""
    at = time.monotonic()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("POST", "/send/", body="x" * 500)
    answer = connection.getresponse()
    return int(json.loads(answer.read())["id"]), at


def row(name: str, tally: listeners.Tally, grown: int, connections: int) -> str:
    counts = (tally.opened, tally.delivered, tally.lost, tally.doubled, tally.disordered)
    figures = (tally.p50, tally.p99, grown / max(1, tally.opened), connections)
    return f"| {name} | " + " | ".join([*(f"{n:,}" for n in counts), *(f"{n:,.0f}" for n in figures)]) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=1000)
    parser.add_argument("--rate", type=float, default=20, help="events a second")
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--db", choices=["sqlite", "postgres"], default="postgres")
    parser.add_argument(
        "--own-view", type=int, nargs="*", default=[], help="client counts for django-eventstream's view"
    )
    given = parser.parse_args()
    with site.deployment(given.db):
        print(f"\n{given.db}, {given.rate:g} events/s for {given.seconds:.0f} s\n\n{HEADER}", flush=True)
        print(headrace(given.clients, given.rate, given.seconds), flush=True)
        for clients in given.own_view:
            print(own_view(clients, given.rate, given.seconds), flush=True)


if __name__ == "__main__":
    main()
