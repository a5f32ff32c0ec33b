"""`make bench-replay-load`: a server that answers commands and queries while `replay_events` rebuilds a long log.

Commands come at a steady rate, first at rest and then through the replay; one thread reads old rows, and for each
command a thread waits for its row. At the end the rows are compared with the plain fold of the log
(`tests/support/fold.py`).
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from benchmarks import made_up
from benchmarks.site import ROOT
from tools import postgres

RATE = 20  # commands a second
CLIENTS = 8
TOKEN = (
    "from django.contrib.auth import get_user_model; from knox.models import AuthToken;"
    "user = get_user_model().objects.create_superuser('admin', password='admin');"
    "print(AuthToken.objects.create(user)[1])"
)
# In memory: about 2 GB for a million events.
COMPARE = (
    "from tests.support.fold import folded, projected; one, other = folded(), projected();"
    "print({name: one[name] == other[name] for name in one})"
)


@dataclass
class Seen:
    """What clients saw: seconds to the answer of each command, seconds from there to its row, and faults (`wrong`)."""

    commands: list[float] = field(default_factory=list)
    visible: list[float] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    reads: int = 0


class Load:
    """Threads that use a server until the block ends: commands, a wait for the row of each, and reads of old rows."""

    def __init__(self, url: str, token: str, old: list[str]) -> None:
        self.client = httpx.Client(base_url=url, headers={"Authorization": f"Bearer {token}"}, timeout=30)
        self.old = old
        self.seen, self.ended, self.sent = Seen(), threading.Event(), 0
        self.threads = [threading.Thread(target=target) for target in (self._command, self._read)]

    def __enter__(self) -> Seen:
        for thread in self.threads:
            thread.start()
        return self.seen

    def __exit__(self, *exception: object) -> None:
        self.ended.set()
        for thread in self.threads:
            thread.join()
        self.client.close()

    def _command(self) -> None:
        """Send commands at a steady rate from several clients, each measured from when it is due."""
        began, waits = time.perf_counter(), []
        with ThreadPoolExecutor(CLIENTS) as clients:
            while not self.ended.is_set():
                at = began + self.sent / RATE
                time.sleep(max(0.0, at - time.perf_counter()))
                self.sent += 1
                waits.append(clients.submit(self._send, at))
        for wait in filter(None, [wait.result() for wait in waits]):
            wait.join()

    def _send(self, at: float) -> threading.Thread | None:
        """Send one command; returns the thread that waits for its row."""
        body = {"email": f"u{time.time_ns()}@example.org", "name": "Load"}
        try:
            answer = self.client.post("/api/users/", json=body)
        except httpx.TransportError as error:
            self.seen.wrong.append(f"command: {error!r} after {time.perf_counter() - at:.1f} s")
            return None
        finally:
            self.seen.commands.append(time.perf_counter() - at)
        if answer.status_code != 201:
            self.seen.wrong.append(f"command: {answer.status_code} {answer.text[:200]}")
            return None
        wait = threading.Thread(target=self._wait, args=(answer.json()["id"], time.perf_counter()))
        wait.start()
        return wait

    def _wait(self, id: str, answered: float) -> None:
        """Wait until the row of a command is there."""
        while self.client.get(f"/api/users/{id}/").status_code == 404:
            if time.perf_counter() - answered > 30:
                self.seen.wrong.append(f"{id} is not visible after 30 s")
                return
            time.sleep(0.02)
        self.seen.visible.append(time.perf_counter() - answered)

    def _read(self) -> None:
        before = {id: self.client.get(f"/api/orders/{id}/").json() for id in self.old}
        while not self.ended.is_set():
            for id, document in before.items():
                answer = self.client.get(f"/api/orders/{id}/")
                if answer.status_code != 200 or answer.json() != document:
                    self.seen.wrong.append(f"read: {answer.status_code} {answer.text[:200]}")
                self.seen.reads += 1
                time.sleep(0.1)


def p99(values: list[float]) -> float:
    return statistics.quantiles(values, n=100)[98] if len(values) > 1 else float("nan")


def manage(*arguments: str) -> str:
    command = [sys.executable, str(ROOT / "manage.py"), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT).stdout


def eventually(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        if time.monotonic() > deadline:
            raise SystemExit("the server does not answer")
        time.sleep(0.05)


def answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/livez").status_code == 200
    except httpx.TransportError:
        return False


def prepare(events: int) -> tuple[str, list[str]]:
    """A full log, rows as live delivery would have made them, a token, and some of the orders."""
    import django

    django.setup()
    from apps.orders.models import Order

    manage("migrate", "-v0")
    made_up.fill(events)
    made_up.mark_as_seen(events)
    manage("replay_events", "--no-progress")
    some = [str(id) for id in Order.objects.values_list("id", flat=True)[:20]]
    return manage("shell", "-v0", "-c", TOKEN).split()[-1], some


def measure(port: int, token: str, some: list[str], rest: float) -> dict[str, Any]:
    url = f"http://127.0.0.1:{port}"
    server = subprocess.Popen(
        [sys.executable, "-m", "uvicorn", "config.asgi:application", "--port", str(port), "--lifespan", "off"],
        cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        eventually(lambda: answers(url))
        with Load(url, token, some):
            time.sleep(3)  # warm
        with Load(url, token, some) as at_rest:
            time.sleep(rest)
        began = time.perf_counter()
        with Load(url, token, some) as meanwhile:
            replayed = manage("replay_events", "--no-progress")
            seconds = time.perf_counter() - began
    finally:
        server.terminate()
        server.wait()
    return {"at rest": at_rest, "meanwhile": meanwhile, "seconds": seconds, "replayed": replayed}


def report(engine: str, events: int, found: dict[str, Any]) -> None:
    print(f"\n{engine}: {events:,} events replayed in {found['seconds']:.0f} s, into every read model\n")
    print("| | commands | p50 ms | p99 ms | slowest ms | row visible, slowest s | reads | wrong |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    for name in ("at rest", "meanwhile"):
        seen: Seen = found[name]
        times = [1000 * value for value in seen.commands]
        figures = f"{statistics.median(times):.0f} | {p99(times):.0f} | {max(times):.0f} | {max(seen.visible):.2f}"
        print(f"| {name} | {len(times)} | {figures} | {seen.reads} | {len(seen.wrong)} |")
        for wrong in seen.wrong[:5]:
            print(wrong)
    print(f"\nRows equal the plain fold: {manage('shell', '-v0', '-c', COMPARE).splitlines()[-1]}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--rest", type=float, default=20.0, help="seconds to measure at rest")
    parser.add_argument("--port", type=int, default=8997)
    parser.add_argument("--db", choices=["sqlite", "postgres"], default="sqlite")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as directory:
        os.environ |= {"DJANGO_SETTINGS_MODULE": "config.settings", "SECRET_KEY": "bench" * 12, "DEBUG": "off"}
        os.environ["DATA_DIR"] = directory
        os.environ |= {"ALLOWED_HOSTS": "*", "PROJECTIONS": "inline"}
        server = postgres.Server(Path(directory, "postgres"))
        if given.db == "postgres":
            os.environ |= postgres.databases(server.start())
        try:
            token, some = prepare(given.events)
            found = measure(given.port, token, some, given.rest)
            report({"sqlite": "SQLite", "postgres": "PostgreSQL"}[given.db], given.events, found)
        finally:
            if given.db == "postgres":
                server.remove()


if __name__ == "__main__":
    main()
