"""The orders of `made_up.py` for pyeventsourcing; in a module, because it finds its events by name.

SQLite's recorder has no subscriptions, so there the application keeps its log in memory (which is quicker) and only the
view with its tracking is in SQLite.
"""

import os
from itertools import groupby
from typing import Any
from urllib.parse import unquote, urlsplit

from eventsourcing.application import Application
from eventsourcing.dispatch import singledispatchmethod
from eventsourcing.domain import Aggregate, event
from eventsourcing.persistence import Tracking
from eventsourcing.postgres import PostgresTrackingRecorder
from eventsourcing.projection import Projection
from eventsourcing.sqlite import SQLiteTrackingRecorder
from psycopg.sql import SQL

from benchmarks import made_up

TABLE = "CREATE TABLE IF NOT EXISTS bench_order (id text PRIMARY KEY, version integer, status text, data text)"
UPSERT = (
    "INSERT INTO bench_order VALUES ({0}, {0}, {0}, {0})"
    " ON CONFLICT (id) DO UPDATE SET version = excluded.version, status = excluded.status"
)


class Order(Aggregate):
    @event("Placed")
    def __init__(self, customer_id: str, currency: str, lines: list[dict[str, Any]]) -> None:
        self.customer_id, self.currency, self.lines = customer_id, currency, lines

    @event("Paid")
    def pay(self, payment_reference: str) -> None:
        self.payment_reference = payment_reference

    @event("Shipped")
    def ship(self, tracking_number: str) -> None:
        self.tracking_number = tracking_number

    @event("Delivered")
    def deliver(self) -> None:
        self.delivered = True

    @event("Cancelled")
    def cancel(self, reason: str) -> None:
        self.cancel_reason = reason


class Orders(Application[Any]):
    pass


class SQLiteView(SQLiteTrackingRecorder):
    def construct_create_table_statements(self) -> list[str]:
        return [*super().construct_create_table_statements(), TABLE]

    def put(self, row: tuple[Any, ...], tracking: Tracking) -> None:
        with self.datastore.transaction(commit=True) as cursor:
            self._insert_tracking(cursor, tracking)
            cursor.execute(UPSERT.format("?"), row)


class PostgreSQLView(PostgresTrackingRecorder):
    def __init__(self, datastore: Any, **kwargs: Any) -> None:
        super().__init__(datastore, **kwargs)
        self.sql_create_statements.append(SQL(TABLE))

    def put(self, row: tuple[Any, ...], tracking: Tracking) -> None:
        with self.datastore.transaction(commit=True) as cursor:
            self._insert_tracking(cursor, tracking)
            cursor.execute(UPSERT.format("%s"), row)


class OrderProjection(Projection[Any]):
    """For each event an upsert and its tracking, in one transaction: the documented way."""

    @singledispatchmethod
    def process_event(self, domain_event: Any, tracking: Tracking) -> None:
        data = repr(domain_event.lines) if isinstance(domain_event, Order.Placed) else ""
        status = type(domain_event).__name__.lower()
        self.view.put((str(domain_event.originator_id), domain_event.originator_version, status, data), tracking)


def environment() -> tuple[dict[str, str], type[Any]]:
    """Settings, and the view for the engine that is measured."""
    url = os.environ.get("ORDERS_DATABASE_URL")
    if not url:
        name = f"{os.environ['DATA_DIR']}/pyeventsourcing-{os.getpid()}.sqlite3"
        view = {"ORDERPROJECTION_PERSISTENCE_MODULE": "eventsourcing.sqlite", "ORDERPROJECTION_SQLITE_DBNAME": name}
        return {"PERSISTENCE_MODULE": "eventsourcing.popo", **view}, SQLiteView
    parts = urlsplit(url)
    settings = {"DBNAME": parts.path[1:], "HOST": unquote(parts.hostname or ""), "USER": parts.username or ""}
    settings |= {"PASSWORD": parts.password or "none", "PORT": str(parts.port or 5432)}
    named = {f"POSTGRES_{name}": value for name, value in settings.items()}
    return {"PERSISTENCE_MODULE": "eventsourcing.postgres", **named}, PostgreSQLView


def fill(application: Orders, number: int) -> None:
    """Save `number` of the made-up events."""
    aggregates = []
    for _, events in groupby(sorted(made_up.orders(number)), key=lambda each: each[0]):
        for _, _, name, data in events:
            if name == "OrderPlaced":
                aggregates.append(Order(**data))
            else:
                steps = {"OrderPaid": Order.pay, "OrderShipped": Order.ship, "OrderDelivered": Order.deliver}
                steps.get(name, Order.cancel)(aggregates[-1], **data)
    for at in range(0, len(aggregates), 20):  # its pipeline hangs on thousands at once
        application.save(*aggregates[at : at + 20])
