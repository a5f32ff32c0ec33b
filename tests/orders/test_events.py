"""Old versions of the orders' events: what was recorded by older code reads as today's."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest

from apps.eventlog import store, upcasting
from apps.eventlog.delivery import projecting
from apps.eventlog.replay import rebuild
from apps.orders.events import OrderCancelled
from apps.orders.models import DeadLetter, Order
from apps.orders.read.projectors import OrderProjector, SummaryProjector
from tests.support.exported import import_documents
from tests.support.fold import projected

PLACED = {
    "customer_id": "0190a1b2-0000-7000-8000-000000000001",
    "currency": "EUR",
    "lines": [{"sku": "A-1", "quantity": 2, "unit_price": "12.50"}],
}
REASONS = ["ordered twice", "the customer was deactivated"]


def record(stream: str, version: int, type: str, schema_version: int, data: dict[str, Any]) -> None:
    """Write an event as code of that time recorded it."""
    document = {"event_id": uuid4(), "stream": stream, "stream_version": version, "type": type}
    instant = datetime(2026, 1, 1, tzinfo=UTC)
    about = {"schema_version": schema_version, "data": data, "metadata": {}, "position": 1, "recorded_at": instant}
    import_documents([document | about])


def cancelled_order(schema_version: int, **data: str) -> UUID:
    id = uuid4()
    record(f"order-{id}", 1, "orders.OrderPlaced", 1, PLACED)
    record(f"order-{id}", 2, "orders.OrderCancelled", schema_version, data)
    return id


@pytest.mark.parametrize(
    ("reason", "cause"), [("ordered twice", "requested"), ("the customer was deactivated", "customer_deactivated")]
)
def test_a_cancellation_of_an_older_version_reads_as_one_of_today(reason: str, cause: str) -> None:
    old, new = cancelled_order(1, reason=reason), cancelled_order(2, reason=reason, cause=cause)
    events = [list(store.read_stream(f"order-{id}"))[-1] for id in (old, new)]
    assert [recorded.schema_version for recorded in events] == [1, 2]
    assert events[0].event == events[1].event == OrderCancelled(reason, cause)  # type: ignore[arg-type]


def test_both_versions_become_the_same_rows_live_and_in_a_replay() -> None:
    pairs = [(cancelled_order(1, reason=why), cancelled_order(2, reason=why, cause="requested")) for why in REASONS]
    projecting.catch_up("orders")
    live = projected()
    for old, new in pairs:
        assert row(old) == row(new)
        assert row(old)["status"] == "cancelled"
    assert live["summary"] == {}
    for kind in (OrderProjector, SummaryProjector):
        rebuild.rebuild(kind)
    assert projected() == live
    assert DeadLetter.objects.count() == 0


def row(order: UUID) -> dict[str, Any]:
    """What of an order's row comes from its events' payloads."""
    [values] = Order.objects.filter(id=order).values()
    return {name: value for name, value in values.items() if name not in ("id", "placed_position")}


def test_without_the_upcaster_an_old_event_is_parked(monkeypatch: pytest.MonkeyPatch) -> None:
    old = cancelled_order(1, reason="ordered twice")
    monkeypatch.setattr(upcasting, "_upcasters", {})
    projecting.catch_up("orders")
    assert row(old)["status"] == "placed"
    assert {letter.projector for letter in DeadLetter.objects.all()} == {"OrderProjector", "SummaryProjector"}
