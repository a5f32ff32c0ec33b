#!/usr/bin/env python
"""`make drill`: two webs, two workers, a primary and its synchronous standby, each on a host of its own, under load.

Hosts are cut off, processes are stopped or killed; in the end the primary's host vanishes and the standby takes over.
Every call and every position that a follower saw is recorded and held against the log and the rows at the end.

    python -m tests.support.drill [--seconds N] [--seed N]
"""

import argparse
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from typing import Any

import django

from tests.journeys.deployment import ROOT, STAFF_TOKEN, Deployment, eventually
from tests.journeys.load import Load
from tests.support import engine
from tests.support.checker import History, faults, result, rows_differ
from tests.support.hosts import Host, HostedServer, Network
from tools import postgres

WEBS, WORKERS = ("web1", "web2"), ("worker1", "worker2")
SERVER = ["-m", "uvicorn", "config.asgi:application", "--host", "0.0.0.0", "--port", "8000", "--lifespan", "off"]
WORKER = ["manage.py", "run_projectors"]
DEADLINE = 60.0  # seconds until work must go on after a fault


class Drill:
    """The hosts with what runs on them; `recovered` are the seconds from the end of each fault until work went on."""

    def __init__(self, directory: Path, network: Network, hosts: dict[str, Host], seed: int) -> None:
        self.directory, self.hosts, self.chance = directory, hosts, random.Random(seed)
        self.primary, self.standby = (
            HostedServer(directory / name, hosts[name], network.range) for name in ("primary", "standby")
        )
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.recovered: dict[str, list[float]] = defaultdict(list)
        self.deployment = self._deploy()
        self.history = {web: History() for web in WEBS}
        self.load = {web: self._load(web, seed, number) for number, web in enumerate(WEBS)}

    def _deploy(self) -> Deployment:
        """Databases on both servers; every commit waits for the standby."""
        url = self.primary.start("max_connections = 200\n")
        both = f"{self.primary.host.address},{self.standby.host.address}"
        alone = postgres.databases(url)
        self.urls = {name: value.replace(self.primary.host.address, both) for name, value in alone.items()}
        deployment = Deployment(self.directory, {**self.urls, "PROJECTIONS": "worker"})
        deployment.manage("migrate", "-v0")
        deployment.token = deployment.manage("shell", "-v0", "-c", STAFF_TOKEN).split()[-1]
        self.standby.follow(self.primary.host.address, "listen_addresses = '*'\n")
        self.standby.start()
        self._at_primary("ALTER SYSTEM SET synchronous_standby_names = 'standby'", "SELECT pg_reload_conf()")
        return deployment

    def _at_primary(self, *statements: str) -> None:
        import psycopg

        url = f"postgres://postgres@{self.primary.host.address}/postgres"
        with psycopg.connect(url, autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement)  # type: ignore[arg-type]

    def _load(self, web: str, seed: int, number: int) -> Load:
        load = Load(f"http://{self.hosts[web].address}:8000", self.deployment.token, self.history[web], seed + number)
        load.numbers = count(1 + number * 1_000_000)  # so that no two clients send the same event
        return load

    def start(self, name: str) -> None:
        arguments = SERVER if name in WEBS else WORKER
        environment = self.deployment.environment
        log = self.directory / f"{name}.log"
        self.processes[name] = self.hosts[name].start([sys.executable, *arguments], environment, log, ROOT)

    def end(self) -> None:
        for process in self.processes.values():
            process.kill()
            process.wait()

    # The faults. Each returns what was hit.

    def kill(self, name: str) -> str:
        self.processes[name].kill()
        self.processes[name].wait()
        self.start(name)
        return name

    def stop(self, name: str) -> str:
        self.processes[name].send_signal(signal.SIGSTOP)
        time.sleep(self.chance.uniform(1, 4))
        self.processes[name].send_signal(signal.SIGCONT)
        return name

    def cut(self, name: str) -> str:
        self.hosts[name].cut()
        time.sleep(self.chance.uniform(1, 6))
        self.hosts[name].mend()
        return name

    def kill_database(self) -> str:
        self.primary.kill()
        self.primary.start()
        return "primary"

    def stop_database(self) -> str:
        postmaster = int((self.primary.data / "postmaster.pid").read_text().split()[0])
        children = Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text().split()
        processes = [postmaster, *map(int, children)]
        for each in processes:
            os.kill(each, signal.SIGSTOP)
        time.sleep(self.chance.uniform(1, 4))
        for each in processes:
            os.kill(each, signal.SIGCONT)
        return "primary"

    def fail_over(self) -> str:
        """The primary's host vanishes; from the promotion of the standby on, time counts."""
        self.hosts["primary"].cut()
        time.sleep(1)
        self.standby.promote()
        return "failover"

    def plan(self) -> dict[str, Callable[[], str]]:
        """Each fault by its name, in a random order."""
        plan: dict[str, Callable[[], str]] = {
            "database killed": self.kill_database,
            "database stopped": self.stop_database,
            "primary cut off": lambda: self.cut("primary"),
            "standby cut off": lambda: self.cut("standby"),
        }
        for what, act in (("killed", self.kill), ("stopped", self.stop), ("cut off", self.cut)):
            plan |= {f"web {what}": lambda act=act: act(self.chance.choice(WEBS))}  # type: ignore[misc]
            plan |= {f"worker {what}": lambda act=act: act(self.chance.choice(WORKERS))}  # type: ignore[misc]
        names = list(plan)
        self.chance.shuffle(names)
        return {name: plan[name] for name in names}

    def run(self, seconds: float) -> None:
        for name in (*WEBS, *WORKERS):
            self.start(name)
        until = time.monotonic() + seconds
        with ExitStack() as stack:
            for load in self.load.values():
                stack.enter_context(load.running(2))
            self.await_work("start", "start")
            while time.monotonic() < until:
                for name, fault in self.plan().items():
                    self.await_work(name, fault())
            self.await_work("primary vanishes", self.fail_over())
            for load in self.load.values():
                load.stop.set()
        for load in self.load.values():
            load.settle(60)

    def await_work(self, name: str, hit: str) -> None:
        """Wait for a command that was sent after the fault and acknowledged; for a worker, for rows that show all."""
        began = time.monotonic()
        marks = {web: len(history.calls) for web, history in self.history.items()}
        webs = [hit] if hit in WEBS else WEBS

        def works() -> bool:
            if hit in WORKERS:
                return self.rows_show_all()
            calls = (call for web in webs for call in self.history[web].calls[marks[web] :])
            return any(call.result == "ok" and call.sent > began for call in calls)

        eventually(works, DEADLINE)
        self.recovered[name].append(time.monotonic() - began)
        sys.stdout.write(".")
        sys.stdout.flush()

    def rows_show_all(self) -> bool:
        from django.db import Error, connections

        from apps.eventlog import store
        from apps.eventlog.delivery import checkpoints
        from apps.eventlog.projectors import services

        try:
            head = store.head()
            return all(checkpoints.stands_at(service, head) for service in services())
        except Error:
            return False
        finally:
            connections.close_all()

    def follow(self, lives: list[list[int]], stop: threading.Event) -> None:
        """Follow the log from here, as any reader; each time the database is away, a life ends."""
        from django.db import Error, connections

        from apps.eventlog import store

        last = 0
        while not stop.is_set():
            lives.append([])
            try:
                while not stop.is_set():
                    lives[-1] += [recorded.position for recorded in store.read_all(after=last)]
                    last = lives[-1][-1] if lives[-1] else last
                    time.sleep(0.02)
            except Error:
                connections.close_all()
                time.sleep(0.1)
        connections.close_all()

    def verdict(self, lives: list[list[int]]) -> list[str]:
        """Everything that is wrong; to be called when all is still."""
        from apps.eventlog import store
        from tests.support.fold import folded, projected

        self.deployment.manage("run_projectors", "--once", seconds=120)
        log = list(store.read_all())
        lives.append([recorded.position for recorded in log if recorded.position > max(map(_last, lives), default=0)])
        calls = [call for history in self.history.values() for call in history.calls]
        queries = [query for history in self.history.values() for query in history.queries]
        history = History(calls, queries, followers={"store.read_all": lives})
        found = [fault for load in self.load.values() for fault in load.broken]
        found += [*faults(history, log), *rows_differ(folded(), projected())]
        found += [f"{request.key} has no result" for load in self.load.values() for request in load.unsettled]
        self.deployment.manage("replay_events", "--verify", "--no-progress", seconds=120)
        return found

    def report(self, found: list[str]) -> None:
        requests = [result(attempts) for h in self.history.values() for attempts in h.requests().values()]
        print("\n\n| fault | times | work went on, median s | worst s |\n| --- | ---: | ---: | ---: |")
        for what, times in sorted(self.recovered.items()):
            print(f"| {what} | {len(times)} | {statistics.median(times):.1f} | {max(times):.1f} |")
        lost = sum(" 0 times" in fault for fault in found)
        doubled = sum(" times" in fault for fault in found) - lost
        skipped = sum(" saw " in fault or " went on " in fault for fault in found)
        print(f"\nrequests {len(requests)}, acknowledged {requests.count('ok')}, refused {requests.count('fail')}")
        print(f"lost {lost}, doubled {doubled}, skipped {skipped}, faults of any kind {len(found)}")
        for fault in found[:20]:
            print(f"  {fault}")


def _last(life: list[int]) -> int:
    return life[-1] if life else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=120, help="of faults, before the primary's host vanishes")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    options: Any = parser.parse_args()
    print(f"seed {options.seed}")
    network = Network(*WEBS, *WORKERS, "primary", "standby")
    with tempfile.TemporaryDirectory(prefix="headrace-drill-") as directory, network as hosts, ExitStack() as stack:
        engine.set_environment(Path(directory))
        drill = Drill(Path(directory), network, hosts, options.seed)
        for server in (drill.primary, drill.standby):
            stack.callback(server.remove)
        stack.callback(drill.end)
        os.environ.update(drill.deployment.environment | {"DJANGO_SETTINGS_MODULE": "config.settings"})
        django.setup()
        lives: list[list[int]] = []
        stop = threading.Event()
        follower = threading.Thread(target=drill.follow, args=[lives, stop])
        follower.start()
        try:
            drill.run(options.seconds)
        finally:
            stop.set()
            follower.join()
        found = drill.verdict(lives)
        drill.report(found)
        return 1 if found or max(drill.recovered["primary vanishes"]) > 20 else 0


if __name__ == "__main__":
    sys.exit(main())
