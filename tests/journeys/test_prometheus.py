"""A real Prometheus scrapes a server and a worker by the files in deploy/: the queries answer, the alerts fire."""

import json
import subprocess
import threading
import time
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
from tests.support import engine
from tests.support.exported import document

SHIPPED = ROOT / "deploy/prometheus"
TOKEN = "of-the-monitor"
# What takes minutes in the shipped rules takes seconds here.
QUICKER = [("for: 1m", "for: 2s"), ("for: 5m", "for: 2s"), ("> 60", "> 5"), ("> 45", "> 5"), ("> 900", "> 5")]
SECONDS = 40  # of load, before the queries of the dashboard are asked


class Prometheus:
    def __init__(self, directory: Path, targets: list[int]) -> None:
        self.directory, self.port = directory, free_port()
        text = (SHIPPED / "prometheus.yml").read_text().replace("scrape_interval: 15s", "scrape_interval: 1s")
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


@contextmanager
def load(server: Server) -> Iterator[None]:
    """Commands and queries, and a stream, until the end of the block."""
    stop = threading.Event()

    def work() -> None:
        number = 100
        while not stop.is_set():
            number += 1
            server.register(number)
            server.client.get("/api/users/?limit=5")
            stop.wait(0.1)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def append_what_nobody_knows(deployment: Deployment, directory: Path) -> None:
    """An event of a type that this code does not have, which its projector sets aside."""
    line = document(position=1_000_000, stream=f"user-{uuid4()}", type="users.UserKnighted")
    (directory / "unknown.jsonl").write_text(json.dumps(line | {"recorded_at": datetime.now(UTC).isoformat()}) + "\n")
    deployment.manage("import_events", str(directory / "unknown.jsonl"))


@pytest.mark.nightly
@pytest.mark.postgres
@pytest.mark.timeout(900)
def test_the_queries_of_the_dashboard_answer_and_the_alerts_fire(deployment: Deployment, tmp_path: Path) -> None:
    environment = {"METRICS_TOKEN": TOKEN, "PROJECTIONS": "worker"}
    port = free_port()
    with ExitStack() as stack:
        server = stack.enter_context(deployment.server(**environment))
        run = ("manage.py", "run_projectors", "--metrics-port", str(port))
        worker = stack.enter_context(deployment.process(*run, **environment))
        prometheus = stack.enter_context(Prometheus(tmp_path, [server.port, port]).running())
        eventually(lambda: prometheus.up() == 2, 30)
        with load(server):
            time.sleep(SECONDS)
            queries = list(expressions(json.loads((ROOT / "deploy/grafana/headrace.json").read_text())))
            silent = [query for query in queries if not prometheus.values(query.replace("$__rate_interval", "30s"))]
            assert silent == []
            assert prometheus.firing() == set()
        with psycopg.connect(engine.URL, dbname=f"{deployment.prefix}_eventlog") as holder:
            holder.execute("SELECT eventlog_mark()")
            server.register(1)
            eventually(lambda: "HeadraceMarkIsStuck" in prometheus.firing(), 40)
        eventually(lambda: prometheus.firing() == set(), 40)
        append_what_nobody_knows(deployment, tmp_path)
        eventually(lambda: "HeadraceDeadLetters" in prometheus.firing(), 40)
        worker.terminate()
        worker.wait(timeout=20)
        server.register(2)
        expected = {"HeadraceReaderIsLate", "HeadraceSealIsOld", "HeadraceIsAway"}
        eventually(lambda: expected <= prometheus.firing(), 60)
