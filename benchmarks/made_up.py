"""A made-up log of orders, written by the driver in bulk: millions of events in a minute."""

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec

START = datetime(2026, 1, 1, tzinfo=UTC)
COLUMNS = (
    "position", "event_id", "stream", "stream_version", "category", "type",
    "schema_version", "data", "metadata", "correlation_id", "recorded_at",
)  # fmt: skip

Event = tuple[str, int, str, dict[str, Any]]


def orders(number: int) -> Iterator[Event]:
    """`number` events (stream, version, type, data) in the order of the log.

    Each order is placed. 10 % are cancelled; the others are paid, and most of them shipped and delivered. The events of
    ten orders at a time are mixed.
    """
    chance = random.Random(1)
    customers = [str(UUID(int=chance.getrandbits(128))) for _ in range(1000)]
    made = 0
    while made < number:
        ten = [list(_order(chance, customers, made + n)) for n in range(10)]
        for step in range(4):
            for order in ten:
                if step < len(order) and made < number:
                    made += 1
                    yield order[step]


def _order(chance: random.Random, customers: list[str], number: int) -> Iterator[Event]:
    # The time comes first, as in a UUIDv7, so that streams have about the same order in the index as in the log.
    stream = f"order-{UUID(int=(number << 80) | chance.getrandbits(80))}"
    lines = [
        {"sku": f"A-{n}", "quantity": chance.randint(1, 9), "unit_price": f"{chance.randint(1, 9999) / 100:.2f}"}
        for n in range(chance.randint(1, 3))
    ]
    yield stream, 1, "OrderPlaced", {"customer_id": chance.choice(customers), "currency": "EUR", "lines": lines}
    end = chance.random()
    if end < 0.1:
        yield stream, 2, "OrderCancelled", {"reason": "bench"}
        return
    yield stream, 2, "OrderPaid", {"payment_reference": "p"}
    if end > 0.3:
        yield stream, 3, "OrderShipped", {"tracking_number": "t"}
        yield stream, 4, "OrderDelivered", {}


def rows(number: int, *, hexadecimal: bool) -> Iterator[tuple[Any, ...]]:
    """The rows of the event table. SQLite stores ids as hexadecimal digits and instants without a zone.

    All events have schema version 1, so those of cancelled orders go through their upcaster.
    """
    metadata = msgspec.json.encode({"actor": "bench", "command": "Bench"}).decode()
    for position, (stream, version, name, data) in enumerate(orders(number), start=1):
        id = UUID(int=(position << 80) | 7)
        at = (START + timedelta(seconds=position)).strftime("%Y-%m-%d %H:%M:%S.%f")
        yield (
            position, id.hex if hexadecimal else id, stream, version, "order", f"orders.{name}", 1,
            msgspec.json.encode(data).decode(), metadata, None, at if hexadecimal else f"{at}Z",
        )  # fmt: skip


def fill(number: int) -> None:
    """Write the events without the append function and the triggers, for speed. No projector has seen them."""
    from django.db import connections

    columns = ", ".join(COLUMNS)
    connection = connections["eventlog"]
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            with cursor.copy(f"COPY eventlog_event ({columns}) FROM STDIN") as copy:
                for row in rows(number, hexadecimal=False):
                    copy.write_row(row)
            cursor.execute("SELECT setval('eventlog_event_position_seq', max(position)) FROM eventlog_event")
            cursor.execute("VACUUM ANALYZE eventlog_event")
            return
        triggers = cursor.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'").fetchall()
        for name, _ in triggers:
            cursor.execute(f"DROP TRIGGER {name}")
        marks = ", ".join("?" * len(COLUMNS))
        cursor.execute("BEGIN")
        connection.connection.executemany(
            f"INSERT INTO eventlog_event ({columns}) VALUES ({marks})", rows(number, hexadecimal=True)
        )
        cursor.execute("COMMIT")
        for _, sql in triggers:
            cursor.execute(sql)


def mark_as_seen(number: int) -> None:
    """Set the checkpoints as if projectors, reactors and processes had taken `number` events."""
    from apps.eventlog.delivery import checkpoints
    from apps.eventlog.log import places
    from apps.eventlog.processes import Process
    from apps.eventlog.projectors import services
    from apps.eventlog.reactors import Reactor

    place = places.place_at(number)
    seen = {"position": number, "event_position": place.position, "event_id": place.event_id}
    for service in services():
        checkpoints.enter(service)
        checkpoints.checkpoint_model(service).objects.update(**seen)
    kinds: list[Any] = [*Reactor.registry.values(), *Process.registry.values()]
    for kind in kinds:
        rows = checkpoints.checkpoint_model(kind.service).objects
        rows.update_or_create(name=kind.name, defaults=seen)
