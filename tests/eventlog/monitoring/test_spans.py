"""One trace from a request to its reactions, if an SDK records it; without one, nothing is loaded."""

import subprocess
import sys
from collections.abc import Iterator
from uuid import UUID

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from apps.eventlog import store
from apps.eventlog.delivery import projecting, reacting
from apps.eventlog.monitoring import spans
from tests.support.api import Api

TRACE, CALLER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
TRACEPARENT = f"00-{TRACE}-{CALLER}-01"


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)
    yield exporter
    provider.shutdown()


def tree(found: tuple[ReadableSpan, ...]) -> set[tuple[str, str]]:
    """Each span with its parent, by name."""
    names = {each.context.span_id: each.name for each in found}
    return {(each.name, names.get(each.parent.span_id, "the caller") if each.parent else "") for each in found}


def test_a_trace_goes_from_the_request_to_the_reactions_of_a_worker(
    recorded: InMemorySpanExporter, api: Api, worker_mode: None
) -> None:
    ann = api.customer()
    for service in ("users", "orders"):
        projecting.catch_up(service)
    ann.place()
    projecting.catch_up("orders")
    reacting.catch_up("orders")
    recorded.clear()
    answer = api.staff.post(f"users/{ann.user_id}/deactivate/", {"reason": "left"}, traceparent=TRACEPARENT)
    assert (answer.status, answer.headers["traceparent"][:36]) == (202, TRACEPARENT[:36])
    assert answer.headers["traceparent"] != TRACEPARENT  # that of the request, not of the caller
    projecting.catch_up("orders")
    reacting.catch_up("orders")
    found = [each for each in recorded.get_finished_spans() if each.context.trace_id == int(TRACE, 16)]
    assert tree(tuple(found)) == {
        ("request POST", "the caller"),
        ("dispatch", "request POST"),
        ("append", "dispatch"),
        ("project", "dispatch"),
        ("react", "dispatch"),
        ("dispatch", "react"),
    } | {("append", "dispatch")}
    [event] = store.read_stream(f"user-{UUID(ann.user_id)}", limit=1, backwards=True)
    assert event.metadata["traceparent"][:36] == TRACEPARENT[:36]


def test_a_batch_of_events_of_several_requests_is_shown_in_the_trace_of_each(
    recorded: InMemorySpanExporter, api: Api, worker_mode: None
) -> None:
    staff = api.staff
    for number in range(3):
        staff.post("users/", {"email": f"u{number}@example.org", "name": "U"})
    recorded.clear()
    projecting.catch_up("users")
    projected = [each for each in recorded.get_finished_spans() if each.name == "project"]
    assert len({each.context.trace_id for each in projected}) == len(projected) == 3


def test_without_an_sdk_nothing_is_traced(api: Api) -> None:
    assert not spans.tracing()
    answer = api.staff.post("users/", {"email": "ann@example.org", "name": "Ann"}, traceparent=TRACEPARENT)
    assert answer.headers["traceparent"] == TRACEPARENT
    assert next(store.read_all()).metadata["traceparent"] == TRACEPARENT


def test_a_command_of_manage_py_loads_none_of_the_instruments() -> None:
    look = (
        "import os, sys, django; sys.argv = ['manage.py', 'migrate'];"
        "os.environ['DJANGO_SETTINGS_MODULE'] = 'config.settings'; django.setup();"
        "import apps.eventlog.dispatch;"
        "print([name for name in ('structlog', 'prometheus_client', 'opentelemetry') if name in sys.modules])"
    )
    printed = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True)
    assert printed.stdout.strip() == "[]"
