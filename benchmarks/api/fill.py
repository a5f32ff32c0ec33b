"""Fill the databases that `rates.py` measures: a log, its read models and the rivals' tables, all of one size.

Prints JSON: a token (the rivals use its first 40 characters), and the cursor and number of a page far behind.
"""

import json
import sys
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import django

django.setup()

from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.core.signing import dumps
from django.db import connections, router, transaction
from django.db.models import Model
from knox.models import AuthToken
from rest_framework.authtoken.models import Token

from apps.eventlog.api.pagination import KeysetPagination, ordering_of
from apps.eventlog.models import StoredEvent
from apps.eventlog.processes import Process
from apps.eventlog.projectors import of_service
from apps.eventlog.reactors import Reactor
from apps.orders.models import Checkpoint as OrdersCheckpoint
from apps.orders.models import Customer, Order, OrderSummary, SummarizedOrder
from apps.processes.models import Checkpoint as ProcessesCheckpoint
from apps.users.models import Checkpoint as UsersCheckpoint
from benchmarks.api.rivals import models as rivals

CUSTOMERS = 1000
PAGE, FAR = 50, 10_000  # rows a page, and which page is far behind
BATCH = 20_000
START = datetime(2026, 1, 1, tzinfo=UTC)
LINES = (
    '[{"sku": "A-1", "quantity": 1, "unit_price": "9.50", "amount": "9.50"},'
    ' {"sku": "A-2", "quantity": 2, "unit_price": "4.00", "amount": "8.00"}]'
)
PLACED = (
    '{"customer_id": "%s", "currency": "EUR", "lines": [{"sku": "A-1", "quantity": 1, "unit_price": "9.50"},'
    ' {"sku": "A-2", "quantity": 2, "unit_price": "4.00"}]}'
)
TOTAL = "17.50"

Row = dict[str, Any]


def hex_id(number: int) -> str:
    """A UUID that grows with the number, as UUIDv7s do with time."""
    return f"0000000000007000{0x8000000000000000 + number:016x}"


def dashed(id: str) -> str:
    return "-".join((id[:8], id[8:12], id[12:16], id[16:20], id[20:]))


def fill(orders: int) -> None:
    """Place `orders` orders, one a second, for a thousand customers: as events, and as rows of every contender."""
    guards = _lift_guards()
    _insert(Customer, map(_customer, range(CUSTOMERS)))
    _insert(rivals.Customer, ({"id": hex_id(number), "name": f"C {number}"} for number in range(CUSTOMERS)))
    for model, row in ROWS.items():
        for first in range(0, orders, BATCH):
            _insert(model, map(row, range(first, min(first + BATCH, orders))))
    _insert(OrderSummary, _summaries(orders))
    _settle(orders, guards)


def _at(number: int) -> str:
    return f"{START + timedelta(seconds=number):%Y-%m-%d %H:%M:%S}"


def _customer(number: int) -> Row:
    return {"id": hex_id(number), "version": 1, "name": f"C {number}", "active": True, "updated_at": _at(number)}


def _event(number: int) -> Row:
    id = hex_id(number)
    return {
        "position": number + 1, "event_id": id, "stream": f"order-{dashed(id)}", "stream_version": 1,
        "category": "order", "type": "orders.OrderPlaced", "schema_version": 1,
        "data": PLACED % dashed(hex_id(number % CUSTOMERS)), "metadata": '{"actor": "bench"}',
        "correlation_id": id, "recorded_at": _at(number),
    }  # fmt: skip


def _plain(number: int) -> Row:
    at = _at(number)
    return {
        "id": hex_id(number), "customer_id": hex_id(number % CUSTOMERS), "status": "placed", "currency": "EUR",
        "total": TOTAL, "lines": LINES, "payment_reference": "", "tracking_number": "", "cancel_reason": "",
        "placed_at": at, "updated_at": at,
    }  # fmt: skip


def _order(number: int) -> Row:
    return _plain(number) | {"version": 1, "placed_position": number + 1}


def _summarized(number: int) -> Row:
    return {"order_id": hex_id(number), "key": f"{_at(number)[:10]} EUR", "total": TOTAL}


def _summaries(orders: int) -> Iterable[Row]:
    for first in range(0, orders, 86_400):
        day, count = _at(first)[:10], min(86_400, orders - first)
        yield {"key": f"{day} EUR", "day": day, "currency": "EUR", "orders": count, "revenue": f"{17.5 * count:.2f}"}


def _history(number: int) -> Row:
    extra = {"history_id": number + 1, "history_date": _at(number), "history_type": "+", "history_change_reason": None}
    return _plain(number) | extra | {"history_user_id": None}


ROWS: dict[type[Model], Callable[[int], Row]] = {
    StoredEvent: _event,
    Order: _order,
    SummarizedOrder: _summarized,
    rivals.PlainOrder: _plain,
    rivals.TrackedOrder: _plain,
    rivals.TrackedOrder.history.model: _history,
}


def _insert(model: type[Model], rows: Iterable[Row]) -> None:
    """COPY (PostgreSQL) or executemany (SQLite); the text of ids and instants suits both."""
    columns = [field.column for field in model._meta.concrete_fields]
    names = ", ".join(f'"{column}"' for column in columns)
    values = ([row[str(column)] for column in columns] for row in rows)
    connection = connections[router.db_for_write(model)]
    with transaction.atomic(using=connection.alias), connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            marks = ", ".join(["%s"] * len(columns))
            cursor.executemany(f'INSERT INTO "{model._meta.db_table}" ({names}) VALUES ({marks})', list(values))
        else:
            with cursor.copy(f'COPY "{model._meta.db_table}" ({names}) FROM STDIN') as copy:
                for row in values:
                    copy.write_row(row)


def _lift_guards() -> list[str]:
    """Drop the triggers of SQLite's log, because they check every row; returns the SQL that makes them again."""
    if connections["eventlog"].vendor != "sqlite":
        return []
    with connections["eventlog"].cursor() as cursor:
        guards = cursor.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'").fetchall()
        for name, _ in guards:
            cursor.execute(f"DROP TRIGGER {name}")
    return [sql for _, sql in guards]


def _settle(head: int, guards: list[str]) -> None:
    """Restore the guards, move checkpoints and sequences to the head, and let the planners gather statistics."""
    models: dict[str, Any] = {"orders": OrdersCheckpoint, "users": UsersCheckpoint}
    ProcessesCheckpoint.objects.bulk_create(ProcessesCheckpoint(name=name, position=head) for name in Process.registry)
    for service, model in models.items():
        reactors = [kind for kind in Reactor.registry.values() if kind.service == service]
        names = [*(kind.name for kind in of_service(service)), *(kind.name for kind in reactors)]
        model.objects.bulk_create([model(name=name, position=head) for name in names])
    history = rivals.TrackedOrder.history.model._meta.db_table
    for alias in connections:
        with connections[alias].cursor() as cursor:
            for sql in guards if alias == "eventlog" else ():
                cursor.execute(sql)
            if connections[alias].vendor == "sqlite":
                cursor.execute("ANALYZE")
                continue
            if alias == "eventlog":
                cursor.execute("SELECT setval('eventlog_event_position_seq', %s)", [head])
            if alias == "default":
                cursor.execute(f"SELECT setval(pg_get_serial_sequence('{history}', 'history_id'), %s)", [head])
            cursor.execute("VACUUM ANALYZE")


def _token() -> str:
    login = get_user_model().objects.create_superuser("bench")
    secret: str = AuthToken.objects.create(login)[1]
    Token.objects.bulk_create([Token(user=login, key=secret[:40])])
    return secret


def main() -> None:
    orders = int(sys.argv[1])
    call_command("migrate", verbosity=0)
    with connections["default"].schema_editor() as editor:
        for model in (rivals.Customer, rivals.PlainOrder, rivals.TrackedOrder, rivals.TrackedOrder.history.model):
            editor.create_model(model)
    fill(orders)
    page = min(FAR, orders // PAGE // 2)
    before = Order.objects.get(pk=hex_id(orders - (page - 1) * PAGE))
    cursor = ["n", ordering_of(Order.objects.all()), before.placed_at.isoformat(), str(before.pk)]
    print(json.dumps({"token": _token(), "far": dumps(cursor, salt=KeysetPagination.salt), "page": page}))


if __name__ == "__main__":
    main()
