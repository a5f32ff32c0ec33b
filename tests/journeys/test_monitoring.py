"""A server of two processes and a worker, as Prometheus and a reader of the log lines see them."""

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.journeys.deployment import Deployment, Server, eventually, free_port
from tests.journeys.sse import listening

TRACE = "0af7651916cd43dd8448eb211c80319c"
TRACEPARENT = f"00-{TRACE}-b7ad6b7169203331-01"
# What `opentelemetry-instrument` does at the start of a program, with a file to which all processes write.
TRACED = """
import runpy, sys
from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor
file, name, *sys.argv = sys.argv[1:]
lines = ConsoleSpanExporter(out=open(file, "a"), formatter=lambda span: span.to_json(indent=None) + chr(10))
provider = TracerProvider(resource=Resource({"service.name": name}))
provider.add_span_processor(SimpleSpanProcessor(lines))
trace.set_tracer_provider(provider)
(runpy.run_path if sys.argv[0].endswith(".py") else runpy.run_module)(sys.argv[0], run_name="__main__")
"""
SPANS = {
    ("web", "request POST", "the client"),
    ("web", "dispatch", "request POST"),
    ("web", "append", "dispatch"),
    ("worker", "project", "dispatch"),
    ("worker", "react", "dispatch"),
    ("worker", "dispatch", "react"),
    ("worker", "append", "dispatch"),
}
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


@contextmanager
def traced(deployment: Deployment, name: str, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    file = str(deployment.directory / "spans.jsonl")
    environment = {"PROJECTIONS": "worker", "LOG_FORMAT": "json"}
    with deployment.process("-c", TRACED, file, name, *arguments, **environment) as process:
        yield process


def spans(deployment: Deployment) -> set[tuple[str, str, str]]:
    """The spans of the trace of the client: the process of each, its name, and the name of its parent."""
    found = [json.loads(line) for line in (deployment.directory / "spans.jsonl").read_text().splitlines()]
    names = {each["context"]["span_id"]: each["name"] for each in found}
    return {
        (each["resource"]["attributes"]["service.name"], each["name"], names.get(each["parent_id"], "the client"))
        for each in found
        if each["context"]["trace_id"] == f"0x{TRACE}"
    }


def test_one_request_is_followed_by_its_ids_through_both_processes(deployment: Deployment) -> None:
    port = free_port()
    web = ("uvicorn", "config.asgi:application", "--port", str(port), "--lifespan", "off")
    with (
        traced(deployment, "web", *web) as process,
        traced(deployment, "worker", "manage.py", "run_projectors"),
    ):
        server = Server(process, port, deployment.token)
        eventually(server.answers)
        user = server.register(1).json()["id"]
        line = {"sku": "tea", "quantity": 1, "unit_price": "1"}
        body = {"customer_id": user, "currency": "EUR", "lines": [line]}
        eventually(lambda: server.client.post("/api/orders/", json=body).status_code == 201)
        eventually(lambda: len(server.client.get("/api/orders/").json()["results"]) == 1)
        ids = {"X-Request-ID": "follow-me", "traceparent": TRACEPARENT}
        answer = server.client.post(f"/api/users/{user}/deactivate/", json={"reason": "left"}, headers=ids)
        assert (answer.status_code, answer.headers["X-Request-ID"]) == (202, "follow-me")
        assert answer.headers["traceparent"].startswith(f"00-{TRACE}-")
        eventually(lambda: server.client.get("/api/orders/?status=cancelled").json()["results"], 30)
        events = server.client.get("/api/events/").json()["results"]
        followed = [each for each in events if each["metadata"].get("request_id") == "follow-me"]
        assert [each["type"] for each in followed] == ["users.UserDeactivated", "orders.OrderCancelled"]
        assert all(each["metadata"]["traceparent"].startswith(f"00-{TRACE}-") for each in followed)
        eventually(lambda: {"DeactivateUser", "CancelUnpaidOrder", None} == commands(deployment))
        eventually(lambda: spans(deployment) == SPANS)


def commands(deployment: Deployment) -> set[str | None]:
    """What the lines about the request name; that of the request itself names none."""
    return {line.get("command") for line in lines(deployment) if _is_followed(line)}


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
