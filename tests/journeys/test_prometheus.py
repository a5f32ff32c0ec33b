"""A real Prometheus scrapes a server and a worker by the files in deploy/: the queries answer, the alerts fire."""

import json
import logging
import os
import statistics
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import psycopg
import pytest

from tests.architecture.test_deploy import expressions
from tests.journeys.deployment import ROOT, Deployment, Server, eventually, free_port
from tests.journeys.sse import listening
from tests.support import engine
from tests.support.exported import document

SHIPPED = ROOT / "deploy/prometheus"
TOKEN = "of-the-monitor"
# What takes minutes in the shipped rules takes seconds here.
QUICKER = [("for: 1m", "for: 2s"), ("for: 5m", "for: 2s"), ("> 60", "> 5"), ("> 45", "> 5"), ("> 900", "> 5")]
SECONDS = int(os.environ.get("SCRAPE_SECONDS", "40"))  # of load; with --log-cli-level=INFO the figures are shown
PEOPLE, LOOKS = 2, 10
INTERVAL = 3  # seconds between scrapes, and the longest that one may take: the page promises about two

logger = logging.getLogger(__name__)


class Prometheus:
    def __init__(self, directory: Path, targets: list[int]) -> None:
        self.directory, self.port = directory, free_port()
        text = (SHIPPED / "prometheus.yml").read_text().replace("scrape_interval: 15s", f"scrape_interval: {INTERVAL}s")
        text = text.replace("global:\n", "global:\n  evaluation_interval: 1s\n")
        assert text.count('["127.0.0.1:8001"]') == 1
        text = text.replace('["127.0.0.1:8001"]', json.dumps([f"127.0.0.1:{port}" for port in targets]))
        (directory / "prometheus.yml").write_text(text)
        rules = (SHIPPED / "alerts.yml").read_text()
        for old, new in QUICKER:
            assert old in rules
            rules = rules.replace(old, new)
        (directory / "alerts.yml").write_text(rules)
        (directory / "headrace.token").write_text(TOKEN)

    @contextmanager
    def running(self) -> Iterator["Prometheus"]:
        file, data = self.directory / "prometheus.yml", self.directory / "data"
        command = ["prometheus", f"--config.file={file}", f"--storage.tsdb.path={data}"]
        command += [f"--web.listen-address=127.0.0.1:{self.port}"]
        with (self.directory / "prometheus.log").open("ab") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            yield self
        finally:
            process.terminate()
            process.wait(timeout=20)

    def get(self, path: str, **query: str) -> Any:
        with suppress(httpx.TransportError):
            answer = httpx.get(f"http://127.0.0.1:{self.port}/api/v1/{path}", params=query, timeout=10)
            if answer.status_code == 200:
                return answer.json()["data"]
        return None

    def up(self) -> int:
        targets = self.get("targets")
        return sum(each["health"] == "up" for each in targets["activeTargets"]) if targets else 0

    def firing(self) -> set[str]:
        found = self.get("alerts")["alerts"]
        return {each["labels"]["alertname"] for each in found if each["state"] == "firing"}

    def values(self, query: str) -> list[Any]:
        found = self.get("query", query=query)
        assert found is not None, query
        return list(found["result"])

    def silent(self) -> list[str]:
        """The queries of the dashboard that have no answer."""
        queries = list(expressions(json.loads((ROOT / "deploy/grafana/headrace.json").read_text())))
        assert len(queries) > 20
        return [query for query in queries if not self.values(query.replace("$__rate_interval", "30s"))]

    def history(self, metric: str) -> list[float]:
        """All values of a metric since the load began, of both targets."""
        found = [series["values"] for series in self.values(f"{metric}[{SECONDS}s]")]
        assert len(found) == 2, metric
        return [float(value) for values in found for _, value in values]


class Load:
    """Commands, queries and a stream, until the end of the block. `got` counts the answers by status."""

    def __init__(self, server: Server) -> None:
        self.server, self.stop = server, threading.Event()
        self.got: Counter[int] = Counter()
        self.events = 0

    def work(self, first: int) -> None:
        with httpx.Client(base_url=self.server.url, headers=self.server.client.headers, timeout=20) as client:
            for number in range(first, first + 1_000_000):
                if self.stop.wait(0.1):
                    return
                person = {"email": f"u{number}@example.org", "name": "U"}
                for answer in (client.post("/api/users/", json=person), client.get("/api/users/?limit=5")):
                    self.got[answer.status_code] += 1

    def follow(self) -> None:
        with listening(self.server) as stream:
            for _ in stream.messages():
                self.events += 1
                if self.stop.is_set():
                    return

    @contextmanager
    def running(self) -> Iterator["Load"]:
        people = [threading.Thread(target=self.work, args=[1_000_000 * each]) for each in range(1, PEOPLE + 1)]
        threads = [*people, threading.Thread(target=self.follow, daemon=True)]
        for thread in threads:
            thread.start()
        try:
            yield self
        finally:
            self.stop.set()
            self.server.register(0)  # with which the stream ends
            for thread in threads:
                thread.join(timeout=30)


def append_what_nobody_knows(deployment: Deployment, directory: Path) -> None:
    """An event of a type that this code does not have, which its projector sets aside."""
    line = document(position=1_000_000, stream=f"user-{uuid4()}", type="users.UserKnighted")
    (directory / "unknown.jsonl").write_text(json.dumps(line | {"recorded_at": datetime.now(UTC).isoformat()}) + "\n")
    deployment.manage("import_events", str(directory / "unknown.jsonl"))


def watch(prometheus: Prometheus, load: Load) -> None:
    """Ask what the dashboard asks, all the time: there is an answer, no alert fires, and no scrape has failed."""
    eventually(lambda: prometheus.silent() == [], 30)
    began = time.monotonic()
    for look in range(1, LOOKS + 1):
        load.stop.wait(max(0.0, began + look * SECONDS / LOOKS - time.monotonic()))
        assert (look, prometheus.silent(), prometheus.firing()) == (look, [], set())
    answered, took = prometheus.history("up"), sorted(prometheus.history("scrape_duration_seconds"))
    figures = f"{len(took)} scrapes, {answered.count(0)} failed"
    figures += f"; {statistics.median(took):.3f} s each in the median, {took[-1]:.3f} s at worst"
    logger.info("%d s: %s; answers %s, events of the stream %d", SECONDS, figures, dict(load.got), load.events)
    assert answered.count(0) == 0, figures
    assert len(answered) > SECONDS / INTERVAL, figures
    assert set(load.got) == {200, 201}


def stick(prometheus: Prometheus, deployment: Deployment, server: Server) -> None:
    """Hold a mark until the alert fires, then let it go."""
    with psycopg.connect(engine.URL, dbname=f"{deployment.prefix}_eventlog") as holder:
        holder.execute("SELECT eventlog_mark()")
        server.register(1)
        fires(prometheus, {"HeadraceMarkIsStuck"})
    eventually(lambda: prometheus.firing() == set(), 40)


def fires(prometheus: Prometheus, expected: set[str]) -> None:
    eventually(lambda: expected <= prometheus.firing(), 60)
    logger.info("fires: %s", ", ".join(sorted(prometheus.firing())))


@pytest.mark.nightly
@pytest.mark.timeout(SECONDS + 600)
def test_the_queries_of_the_dashboard_answer_and_the_alerts_fire(deployment: Deployment, tmp_path: Path) -> None:
    environment = {"METRICS_TOKEN": TOKEN, "PROJECTIONS": "worker"}
    port = free_port()
    with ExitStack() as stack:
        server = stack.enter_context(deployment.server(**environment))
        run = ("manage.py", "run_projectors", "--metrics-port", str(port))
        worker = stack.enter_context(deployment.process(*run, **environment))
        prometheus = stack.enter_context(Prometheus(tmp_path, [server.port, port]).running())
        eventually(lambda: prometheus.up() == 2, 30)
        with Load(server).running() as load:
            watch(prometheus, load)
        if engine.POSTGRES:  # SQLite has no marks
            stick(prometheus, deployment, server)
        append_what_nobody_knows(deployment, tmp_path)
        fires(prometheus, {"HeadraceDeadLetters"})
        worker.terminate()
        worker.wait(timeout=20)
        server.register(2)
        fires(prometheus, {"HeadraceReaderIsLate", "HeadraceSealIsOld", "HeadraceIsAway"})
