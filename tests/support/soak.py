#!/usr/bin/env python
"""`make soak`: a real deployment under load, its processes killed at random instants and at named failpoints.

Every call, query and checkpoint is recorded and held against the log and the rows by `tests/support/checker.py`.
The seed is printed; the load and the kills follow from it, the interleaving does not.

    python -m tests.support.soak --db sqlite|postgres [--kills N] [--seed N]
"""

import argparse
import os
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import django
import httpx

from tests.journeys.deployment import STAFF_TOKEN, Deployment, eventually, free_port
from tests.journeys.load import Load
from tests.support import engine
from tests.support.checker import History, Place, faults, result, rows_differ
from tools import postgres

SERVER = ("-m", "uvicorn", "config.asgi:application", "--lifespan", "off", "--no-access-log", "--port")
REPLAY = ("manage.py", "replay_events", "--no-progress")
WORKER = ("manage.py", "run_projectors")
DEADLINE = 60.0  # seconds until commands must be acknowledged again after a kill


@dataclass
class Soak:
    """`recovered` are the seconds from each kill to the next acknowledged command, by what was killed."""

    deployment: Deployment
    database: postgres.Server | None
    seed: int
    stack: ExitStack
    history: History = field(default_factory=History)
    recovered: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    mode: str = "inline"

    def __post_init__(self) -> None:
        self.chance, self.port = random.Random(self.seed), free_port()
        url = f"http://127.0.0.1:{self.port}"
        self.load = Load(url, self.deployment.token, self.history, self.seed)

    def start(self, name: str, **environment: str) -> None:
        """Start the server, or a worker, unless it runs."""
        if name not in self.processes or self.processes[name].poll() is not None:
            arguments = (*SERVER, str(self.port)) if name == "server" else WORKER
            process = self.deployment.process(*arguments, PROJECTIONS=self.mode, **environment)
            self.processes[name] = self.stack.enter_context(process)

    def kill(self, name: str) -> None:
        self.processes[name].kill()
        self.processes[name].wait()

    def at_random(self, name: str) -> None:
        """Kill at an instant of no meaning."""
        time.sleep(self.chance.uniform(0.1, 0.8))
        self.kill(name)
        self.await_recovery(f"{name} at a random instant", name)

    def at_failpoint(self, name: str, failpoint: str) -> None:
        """Let it run into a failpoint; what ran before dies at a random instant."""
        self.kill(name)
        self.start(name, FAILPOINT=failpoint)
        self.processes[name].wait(timeout=DEADLINE)
        self.await_recovery(f"{name} at {failpoint}", name)

    def replay(self, failpoint: str = "") -> None:
        with self.deployment.process(*REPLAY, PROJECTIONS=self.mode, FAILPOINT=failpoint) as process:
            if failpoint:
                process.wait(timeout=DEADLINE)
            else:
                time.sleep(self.chance.uniform(0.3, 2.0))
        self.await_recovery(f"replay at {failpoint or 'a random instant'}")

    def power_cut(self) -> None:
        assert self.database is not None
        time.sleep(self.chance.uniform(0.1, 0.8))
        self.database.kill()
        self.await_recovery("PostgreSQL at a random instant", start=self.database.start)

    def await_recovery(self, what: str, name: str = "", start: Callable[[], object] = lambda: None) -> None:
        """Start again what was killed, and wait until the work goes on.

        That is the first command to be sent and acknowledged since, or for a worker, rows that show
        everything that was in the log when it was killed.
        """
        from django.db import connections

        from apps.eventlog import store
        from apps.eventlog.delivery import checkpoints
        from apps.eventlog.projectors import services

        connections.close_all()  # the kill may have been PostgreSQL's
        began, before = time.monotonic(), len(self.history.calls)
        head = store.head() if name.startswith("worker") else 0
        start()
        if name:
            self.start(name)

        def recovered() -> bool:
            if head:
                return all(checkpoints.reached(service, head) for service in services())
            return any(call.result == "ok" and call.sent > began for call in self.history.calls[before:])

        eventually(recovered, DEADLINE)
        self.recovered[what].append(time.monotonic() - began)

    def plan(self, kills: int) -> list[Callable[[], None]]:
        """What is killed how, in one mode; the shares are the same for every seed."""
        ways: list[Callable[[], None]] = [lambda: self.at_random("server")] * 5
        if self.mode == "inline":
            ways += [lambda: self.at_failpoint("server", "appended"), lambda: self.at_failpoint("server", "projected")]
        else:
            ways += [lambda: self.at_random("worker 1"), lambda: self.at_random("worker 2")] * 2
            ways += [lambda: self.at_failpoint("worker 1", "projected")]
        ways += [self.replay, lambda: self.replay("switching")]
        if self.database:
            ways += [self.power_cut] * 4
        self.chance.shuffle(ways)
        return list(islice(cycle(ways), kills))

    def run(self, kills: int) -> None:
        with self.load.running(), self.following():
            for mode in ("inline", "worker"):
                self.mode = mode
                if mode == "worker":
                    self.kill("server")
                    self.start("worker 1")
                    self.start("worker 2")
                self.start("server")
                for kill in self.plan(kills // 2):
                    kill()
                    sys.stdout.write(".")
                    sys.stdout.flush()
            self.load.stop.set()
            self.load.settle(90)
        for name in self.processes:
            self.kill(name)

    @contextmanager
    def following(self) -> Iterator[None]:
        """Followers of the log, in this process and over the live stream, and a reader of the checkpoints."""
        stop = threading.Event()
        threads = [threading.Thread(target=work, args=[stop]) for work in (self._read_log, self._listen)]
        for thread in threads:
            thread.start()
        yield
        stop.set()
        for thread in threads:
            thread.join()

    def _read_log(self, stop: threading.Event) -> None:
        from django.db import Error, connections

        from apps.eventlog import store
        from apps.eventlog.delivery import checkpoints
        from apps.eventlog.projectors import services

        lives = self.history.followers["store.read_all"] = [[0]]
        cut = False  # a power cut takes read databases of PostgreSQL back a moment, rows and checkpoints together
        while True:
            last = stop.is_set()
            try:
                lives[0].extend(recorded.position for recorded in store.read_all(after=lives[0][-1]))
                reached = [place for service in services() for place in checkpoints.positions(service).items()]
                safe = store.safe_position()
                self.history.places += [Place(name, position, safe, reset=cut) for name, position in reached]
                cut = False
            except Error:
                connections.close_all()
                last, cut = False, self.database is not None
            if last:
                lives[0].pop(0)
                connections.close_all()
                return
            time.sleep(0.02)

    def _listen(self, stop: threading.Event) -> None:
        lives, position = self.history.followers.setdefault("live stream", []), "0"
        with self.load.client() as client:
            while not (stop.is_set() and self._seen_all(lives)):
                life: list[int] = []
                lives.append(life)
                try:
                    with client.stream(
                        "GET", "/api/events/stream/?after=0", headers={"Last-Event-ID": position}
                    ) as sse:
                        for line in sse.iter_lines():
                            if line.startswith("id: events:") and (new := line.rpartition(":")[2]) != position:
                                position = new
                                life.append(int(position))
                            if stop.is_set() and self._seen_all(lives):
                                return
                except httpx.TransportError:
                    time.sleep(0.05)

    def _seen_all(self, lives: list[list[int]]) -> bool:
        from apps.eventlog import store

        return max((life[-1] for life in lives if life), default=0) >= store.head()

    def verdict(self) -> list[str]:
        """Everything that is wrong; to be called when all is still."""
        from django.db import connections

        from apps.eventlog import store
        from tests.support.fold import folded, projected

        connections.close_all()
        self.deployment.manage("run_projectors", "--once")
        log = list(store.read_all())
        found = [*self.load.broken, *faults(self.history, log), *rows_differ(folded(), projected())]
        found += [f"{request.key} has no result" for request in self.load.unsettled]
        for _ in range(2):
            self.deployment.manage("replay_events", "--no-progress")
            found += [f"after a replay: {fault}" for fault in rows_differ(folded(), projected())]
        if list(store.read_all()) != log:
            found.append("the replay changed the log")
        if "as the log says" not in self.deployment.manage("replay_events", "--verify", "--no-progress", check=False):
            found.append("replay_events --verify found differences")
        return found

    def report(self, found: list[str], seconds: float) -> None:
        requests = [result(attempts) for attempts in self.history.requests().values()]
        count = {name: sum(name in fault for fault in found) for name in (" 0 times", " times", " saw ", " went on ")}
        print(
            f"\n\n| {self.deployment.environment['SOAK_DB']}, seed {self.seed} | kills | recovery, median s | worst s |"
        )
        print("| --- | ---: | ---: | ---: |")
        for what, times in sorted(self.recovered.items()):
            print(f"| {what} | {len(times)} | {statistics.median(times):.2f} | {max(times):.2f} |")
        kills = sum(map(len, self.recovered.values()))
        print(f"| all, in {seconds:.0f} s | {kills} | | |\n")
        print(f"requests {len(requests)}, acknowledged {requests.count('ok')}, refused {requests.count('fail')},")
        print(f"attempts {len(self.history.calls)}, queries {len(self.history.queries)}, ", end="")
        print(f"checkpoints read {len(self.history.places)}, lives of followers ", end="")
        print(sum(map(len, self.history.followers.values())))
        print(f"answers by status {dict(sorted(self.load.statuses.items()))}")
        print(f"lost {count[' 0 times']}, doubled {count[' times'] - count[' 0 times']}, ", end="")
        print(f"skipped {count[' saw '] + count[' went on ']}, faults of any kind {len(found)}")
        for fault in found[:20]:
            print(f"  {fault}")


def deployed(directory: Path, db: str) -> tuple[Deployment, postgres.Server | None]:
    """A migrated deployment with databases of its own, and its PostgreSQL."""
    engine.set_environment(directory)
    server = postgres.Server(directory / "postgres") if db == "postgres" else None
    urls = postgres.databases(server.start()) if server else {}
    deployment = Deployment(directory, {**urls, "SQLITE_TIMEOUT": "20", "SOAK_DB": db})
    deployment.manage("migrate", "-v0")
    deployment.token = deployment.manage("shell", "-v0", "-c", STAFF_TOKEN).split()[-1]
    return deployment, server


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--db", choices=["sqlite", "postgres"], default="sqlite")
    parser.add_argument("--kills", type=int, default=104)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    options: Any = parser.parse_args()
    print(f"seed {options.seed}")
    with tempfile.TemporaryDirectory(prefix="headrace-soak-") as directory, ExitStack() as stack:
        deployment, server = deployed(Path(directory), options.db)
        if server:
            stack.callback(server.remove)
        os.environ.update(deployment.environment | {"DJANGO_SETTINGS_MODULE": "config.settings"})
        django.setup()
        soak, began = Soak(deployment, server, options.seed, stack), time.monotonic()
        soak.run(options.kills)
        found = soak.verdict()
        soak.report(found, time.monotonic() - began)
        return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
