"""The read models of users and orders as a plain fold of the log, written without the projectors.

`projected() == folded()` says that the rows are right. A service of your own is compared by `hardened` instead.
"""

from collections import defaultdict
from collections.abc import Iterable
from decimal import Decimal
from typing import Any

from apps.eventlog import store
from apps.eventlog.delivery.dead_letters import open_dead_letters
from apps.eventlog.events import RecordedEvent
from apps.eventlog.projectors import services
from apps.orders.models import Customer, Order, OrderSummary
from apps.users.events import email_key
from apps.users.models import User

Rows = dict[str, Any]


def folded(events: Iterable[RecordedEvent] | None = None) -> dict[str, Rows]:
    """What the tables of users and orders should hold, by table and key, from all stored events or from a prefix."""
    users: Rows = {}
    orders: Rows = {}
    tables = {"users": users, "orders": orders}
    days: dict[str, list[Any]] = defaultdict(lambda: [0, Decimal(0)])
    for recorded in store.read_all() if events is None else events:
        service, _, name = recorded.type.partition(".")
        if service not in tables:
            continue
        id, data = recorded.stream.partition("-")[2], recorded.data
        row = tables[service].setdefault(id, {})
        row.update(version=recorded.stream_version, updated_at=recorded.recorded_at)
        if name == "UserRegistered":
            row.update(data, status="active", registered_at=recorded.recorded_at)
        elif name in ("UserRenamed", "UserEmailChanged"):
            row.update(data)
        elif name in ("UserDeactivated", "UserErased"):
            row.update(status="inactive")
        elif name == "UserReactivated":
            row.update(status="active")
        elif name == "OrderPlaced":
            amounts = [Decimal(line["unit_price"]) * line["quantity"] for line in data["lines"]]
            lines = [line | {"amount": str(amount)} for line, amount in zip(data["lines"], amounts, strict=True)]
            row.update(data, lines=lines, total=str(sum(amounts)), status="placed", placed_at=recorded.recorded_at)
            row.update(payment_reference="", tracking_number="", cancel_reason="", placed_position=recorded.position)
            _count(days, row, 1)
        elif name == "OrderCancelled":
            row.update(status="cancelled", cancel_reason=data["reason"])
            _count(days, row, -1)
        else:
            row.update(data, status={"OrderPaid": "paid", "OrderShipped": "shipped"}.get(name, "delivered"))
    for row in users.values():
        row["mailbox"] = "" if row["email"] == "[erased]" else email_key(row["email"])
    names = ("version", "name", "updated_at")
    customers = {id: {n: row[n] for n in names} | {"active": row["status"] == "active"} for id, row in users.items()}
    summary = {key: {"orders": count, "revenue": str(sum_)} for key, (count, sum_) in days.items() if count}
    return {"users": users, "orders": orders, "customers": customers, "summary": summary, "set aside": {}}


def _count(days: dict[str, list[Any]], row: Rows, sign: int) -> None:
    day = days[f"{row['placed_at']:%Y-%m-%d} {row['currency']}"]
    day[0] += sign
    day[1] += sign * Decimal(row["total"])


def projected() -> dict[str, Rows]:
    """What the tables do hold, and the events that were set aside."""
    orders = {id: row | {"customer_id": str(row["customer_id"])} for id, row in _rows(Order).items()}
    summary = {key: {name: row[name] for name in ("orders", "revenue")} for key, row in _rows(OrderSummary).items()}
    rows = {"users": _rows(User), "orders": orders, "customers": _rows(Customer), "summary": summary}
    letters = [letter for service in services() for letter in open_dead_letters(service)]
    return rows | {"set aside": {str(letter): {"error": letter.error} for letter in letters}}


def _rows(model: Any) -> Rows:
    key = model._meta.pk.name
    return {str(row[key]): {name: row[name] for name in row if name != key} for row in model.objects.values()}
