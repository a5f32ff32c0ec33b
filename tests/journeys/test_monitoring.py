"""A server of two processes and a worker, as Prometheus and a reader of the log lines see them."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.journeys.deployment import Deployment, Server, eventually, free_port
from tests.journeys.sse import listening

TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
MONITOR = {"Authorization": "Bearer of-the-monitor"}


def lines(deployment: Deployment) -> Iterator[dict[str, Any]]:
    """The JSON lines of all processes of a deployment."""
    for line in (deployment.directory / "processes.log").read_text().splitlines():
        if line.startswith("{"):
            yield json.loads(line)


def sample(url: str, name: str, **labels: str) -> float:
    answer = httpx.get(f"{url}/metrics", headers=MONITOR, timeout=10)
    assert answer.status_code == 200, answer.text
    found = [each for family in text_string_to_metric_families(answer.text) for each in family.samples]
    return sum(each.value for each in found if each.name == name and each.labels.items() >= labels.items())


def queries(server: Server) -> float:
    return sample(server.url, "headrace_query_seconds_count", route="/api/users/", status="200")


def test_processes_add_their_counts_up_and_a_request_is_followed_by_its_id(deployment: Deployment) -> None:
    environment = {"METRICS_TOKEN": "of-the-monitor", "PROJECTIONS": "worker", "LOG_FORMAT": "json"}
    environment |= {"WEB_THREADS": "1", "STREAMS_PER_CUSTOMER": "1"}
    port = free_port()
    worker = ("manage.py", "run_projectors", "--metrics-port", str(port))
    with (
        deployment.server("--workers", "2", **environment) as server,
        deployment.process(*worker, **environment),
    ):
        for number in range(12):
            answer = httpx.get(f"{server.url}/api/users/", headers=server.client.headers, timeout=20)
            assert (number, answer.status_code) == (number, 200)
        eventually(lambda: queries(server) == 12)
        assert {queries(server) for _ in range(6)} == {12}  # whichever process answers
        ids = {"X-Request-ID": "follow-me", "traceparent": TRACEPARENT}
        user = server.register(1).json()["id"]
        reason = server.client.post(f"/api/users/{user}/deactivate/", json={"reason": "left"}, headers=ids)
        assert (reason.status_code, reason.headers["X-Request-ID"]) == (202, "follow-me")
        with listening(server):
            eventually(lambda: sample(server.url, "headrace_streams_open") == 1)
        httpx.get(f"{server.url}/api/users/?{'x' * 17_000}")
        eventually(lambda: sample(server.url, "headrace_streams_open") == 0)
        eventually(lambda: sample(f"http://127.0.0.1:{port}", "headrace_reader_lag_events") == 0, 30)
        assert sample(server.url, "headrace_reader_events_total", reader="UserProjector") == 2
        assert sample(f"http://127.0.0.1:{port}", "headrace_batch_seconds_count", reader="UserProjector") > 0
        assert sample(server.url, "headrace_batch_seconds_count") == 0  # it keeps its own
        written = [line for line in lines(deployment) if line["logger"].startswith("headrace.")]
        followed = [(line["event"], line.get("command"), line["traceparent"]) for line in written if _is_followed(line)]
        assert followed == [("command", "DeactivateUser", TRACEPARENT), ("request", None, TRACEPARENT)]
        said = {(line["event"], line.get("route"), line.get("status")) for line in written}
        stream = "/api/events/stream/"
        assert said >= {("stream opened", stream, 200), ("request", stream, 200), ("request", "unmatched", 414)}


def _is_followed(line: dict[str, Any]) -> bool:
    return bool(line.get("request_id") == "follow-me")


@pytest.mark.postgres
def test_an_append_that_is_stuck_is_seen(deployment: Deployment) -> None:
    import psycopg

    from tests.support import engine

    with deployment.server(METRICS_TOKEN="of-the-monitor") as server:
        server.register(1)
        assert sample(server.url, "headrace_log_oldest_mark_seconds") == 0
        with psycopg.connect(engine.URL, dbname=f"{deployment.prefix}_eventlog") as holder:
            holder.execute("SELECT eventlog_mark()")
            server.register(2)
            eventually(lambda: sample(server.url, "headrace_log_oldest_mark_seconds") > 0.2)
            assert sample(server.url, "headrace_log_safe_position") == 1
            assert sample(server.url, "headrace_reader_lag_events", reader="UserProjector") == 1
        eventually(lambda: sample(server.url, "headrace_log_oldest_mark_seconds") == 0)
