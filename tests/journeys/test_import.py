"""An import while a worker follows the log."""

import json
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from tests.journeys.deployment import Deployment, eventually
from tests.journeys.test_workers import APPENDS, all_is_projected

STREAMS = 400  # several batches of the import


def history(streams: int) -> list[dict[str, Any]]:
    """The log of another system: so many users with an unpaid order each, every second of whom left afterwards."""
    events: list[tuple[str, int, str, dict[str, Any]]] = []
    for number in range(streams):
        user, order = f"user-{UUID(int=number)}", f"order-{UUID(int=10_000 + number)}"
        name = {"email": f"u{number}@example.org", "name": "Ann"}
        lines = [{"sku": "A-1", "quantity": 1, "unit_price": "1.25"}]
        events.append((user, 1, "users.UserRegistered", name))
        placed = {"customer_id": user[5:], "currency": "EUR", "lines": lines}
        events.append((order, 1, "orders.OrderPlaced", placed))
        if number % 2:
            events.append((user, 2, "users.UserDeactivated", {"reason": "left"}))
    return [
        {
            "position": position,
            "event_id": str(UUID(int=position)),
            "stream": stream,
            "stream_version": version,
            "type": type,
            "schema_version": 1,
            "data": data,
            "metadata": {},
            "recorded_at": "2020-01-01T00:00:00Z",
        }
        for position, (stream, version, type, data) in enumerate(events, start=1)
    ]


@pytest.mark.nightly
def test_an_import_beside_a_worker_and_a_writer_leaves_all_rows_right(deployment: Deployment, tmp_path: Path) -> None:
    events, file = history(STREAMS), tmp_path / "log.jsonl"
    file.write_text("".join(json.dumps(event) + "\n" for event in events))
    with deployment.worker(PROJECTIONS="worker") as worker:
        appends = APPENDS.format(orders=30)
        with deployment.process("manage.py", "shell", "-v0", "-c", appends, PROJECTIONS="worker") as writer:
            said = deployment.manage("import_events", str(file), PROJECTIONS="worker")
            assert f"{len(events)} events imported" in said
            assert writer.wait(timeout=30) == 0
        eventually(lambda: all_is_projected(deployment))
        assert worker.poll() is None
    fold, live = deployment.rows()
    assert live == fold
    # Its own four events an order; a reactor that answered the imported ones would have added cancellations.
    assert deployment.query("eventlog", "SELECT count(*) FROM eventlog_event") == [(len(events) + 120,)]
