#!/usr/bin/env python
"""`make bench-replay`: how fast a read model is rebuilt, beside the raw driver and a plain Django loop.

One run, rounds interleaved, medians. The log holds made-up orders: placed, 10 % cancelled, the others paid, most of
them shipped and delivered. The plain loop, an `update_or_create` an event, is measured on the first events only, for
it is slow; its rate does not depend on how many there are.
"""

import argparse
import os
import random
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tools import postgres

LOOP = 3000  # events of the plain Django loop
RAW = (
    "SELECT position, stream, stream_version, type, {data}, recorded_at FROM eventlog_event"
    " ORDER BY stream, stream_version"
)


def made_up(number: int) -> Iterator[dict[str, Any]]:
    """So many events of users and orders, as exported documents."""
    chance, start, position = random.Random(1), datetime(2026, 1, 1, tzinfo=UTC), 0

    def event(stream: str, version: int, type: str, data: dict[str, Any]) -> dict[str, Any]:
        nonlocal position
        position += 1
        at = start + timedelta(seconds=position)
        head = {"position": position, "event_id": UUID(int=chance.getrandbits(128)), "recorded_at": at}
        return head | {
            "stream": stream, "stream_version": version, "type": f"orders.{type}", "schema_version": 1,
            "data": data, "metadata": {"actor": "bench"},
        }  # fmt: skip

    customers = [str(UUID(int=chance.getrandbits(128))) for _ in range(1000)]
    while position < number:
        # As a UUIDv7 has it: the time first, so that streams lie in the index about as they lie in the log.
        stream = f"order-{UUID(int=(position << 80) | chance.getrandbits(80))}"
        lines = [
            {"sku": f"A-{n}", "quantity": chance.randint(1, 9), "unit_price": f"{chance.randint(1, 9999) / 100:.2f}"}
            for n in range(chance.randint(1, 3))
        ]
        yield event(
            stream, 1, "OrderPlaced", {"customer_id": chance.choice(customers), "currency": "EUR", "lines": lines}
        )
        end = chance.random()
        if end < 0.1:
            yield event(stream, 2, "OrderCancelled", {"reason": "bench"})
            continue
        yield event(stream, 2, "OrderPaid", {"payment_reference": "p"})
        if end > 0.3:
            yield event(stream, 3, "OrderShipped", {"tracking_number": "t"})
            yield event(stream, 4, "OrderDelivered", {})


def fill(number: int) -> int:
    from apps.eventlog import store

    batch, total = [], 0
    for document in made_up(number):
        batch.append(document)
        if len(batch) == 2000:
            total += store.restore(batch)[0]
            batch = []
    return total + (store.restore(batch)[0] if batch else 0)


def raw_read() -> int:
    """The driver reads every event, in stream order, and gives its JSON as text."""
    from django.db import connections

    connection, count = connections["eventlog"], 0
    if connection.vendor == "sqlite":
        return sum(1 for _ in connection.cursor().execute(RAW.format(data="data")))
    connection.ensure_connection()
    with connection.connection.transaction(), connection.connection.cursor("bench", binary=True) as cursor:
        cursor.itersize = 2000
        cursor.execute(RAW.format(data="data::text"))
        for _ in cursor:
            count += 1
    return count


def ours(workers: int) -> Callable[[], int]:
    from apps.eventlog.rebuild import rebuild
    from apps.orders.read.projectors import OrderProjector

    return lambda: rebuild(OrderProjector, workers=workers)


def plain_loop() -> int:
    """The usual way: one `update_or_create` an event."""
    from apps.eventlog import store
    from apps.orders.models import Order

    Order.objects.all().delete()
    statuses = {"Paid": "paid", "Shipped": "shipped", "Delivered": "delivered", "Cancelled": "cancelled"}
    for recorded in store.read_all(limit=LOOP):
        fields: dict[str, Any] = {"version": recorded.stream_version, "updated_at": recorded.recorded_at}
        step = recorded.type.removeprefix("orders.Order")
        if step == "Placed":
            event: Any = recorded.event
            fields |= {"customer_id": event.customer_id, "currency": event.currency, "total": str(event.total)}
            fields |= {"lines": recorded.data["lines"], "status": "placed", "placed_at": recorded.recorded_at}
            fields |= {"placed_position": recorded.position}
        else:
            fields |= recorded.data if step in ("Paid", "Shipped") else {}
            fields["status"] = statuses[step]
        Order.objects.update_or_create(id=recorded.stream_id, defaults=fields)
    return LOOP


def measure(rounds: int) -> dict[str, float]:
    contenders = {
        "raw driver, reading only": raw_read,
        "Headrace, 1 process": ours(1),
        "Headrace, 2 processes": ours(2),
        f"plain Django loop (first {LOOP:,} events)": plain_loop,
    }
    rates: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, contender in contenders.items():
            began = time.perf_counter()
            events = contender()
            rates[name].append(events / (time.perf_counter() - began))
    return {name: statistics.median(found) for name, found in rates.items()}


def report(engine: str, events: int, rates: dict[str, float]) -> None:
    raw, loop = rates["raw driver, reading only"], list(rates.values())[-1]
    print(f"\n{engine}, {events:,} events of orders\n")
    print("| | events/s | of the raw read | times the plain loop |\n| --- | ---: | ---: | ---: |")
    for name, rate in rates.items():
        print(f"| {name} | {rate:,.0f} | {rate / raw:.2f} | {rate / loop:.0f} |")
    peak = [resource.getrusage(who).ru_maxrss // 1024 for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    print(f"\npeak memory: {peak[0]} MB in this process, {peak[1]} MB in the largest child")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--db", choices=["sqlite", "postgres"], default="sqlite")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as directory:
        os.environ |= {"DJANGO_SETTINGS_MODULE": "config.settings", "SECRET_KEY": "bench", "DATA_DIR": directory}
        server = postgres.Server(Path(directory, "postgres"))
        if given.db == "postgres":
            os.environ |= postgres.databases(server.start())
        try:
            import django
            from django.core.management import call_command

            django.setup()
            from apps.eventlog import delivery, projectors

            call_command("migrate", verbosity=0)
            events = fill(given.events)
            for service in projectors.services():
                delivery.catch_up(service)
            report(given.db, events, measure(given.rounds))
        finally:
            if given.db == "postgres":
                server.remove()


if __name__ == "__main__":
    main()
