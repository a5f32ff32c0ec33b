"""Every filter, order and page of every list is served by an index: the planner of either engine says so."""

import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from django.db import connection, connections
from django.test.utils import CaptureQueriesContext

from apps.eventlog import store
from apps.eventlog.log.postgresql import PostgreSQL
from apps.eventlog.log.sqlite import SQLite
from apps.orders.models import Customer, Order, OrderSummary
from apps.users.events import UserDeactivated
from apps.users.models import User
from tests.eventlog.events import Counted
from tests.support.api import Answer, Api

ROWS = 3000
START = datetime(2026, 1, 1, tzinfo=UTC)
ONE = UUID(int=7)

# The list, the database that answers it, and the column that the index is to be searched by.
LISTS = [
    ("users/", "users", ""),
    ("users/?ordering=registered_at", "users", ""),
    ("users/?status=inactive", "users", "status"),
    ("users/?email=u7@example.org", "users", "mailbox"),
    ("orders/", "orders", ""),
    ("orders/?ordering=placed_at", "orders", ""),
    ("orders/?ordering=updated_at", "orders", ""),
    ("orders/?ordering=-updated_at", "orders", ""),
    ("orders/?status=shipped", "orders", "status"),
    ("orders/?currency=KWD", "orders", "currency"),
    ("orders/?placed_after=2026-01-02T00:00:00Z&ordering=placed_at", "orders", "placed_at"),
    ("orders/?placed_before=2026-01-01T12:00:00Z", "orders", "placed_at"),
    ("orders/summary/", "orders", ""),
    ("events/", "eventlog", "position"),
    ("events/?type=users.UserDeactivated", "eventlog", "type"),
    ("events/?category=user", "eventlog", "category"),
    (f"events/?correlation_id={ONE}", "eventlog", "correlation_id"),
    (f"events/?stream=user-{ONE}", "eventlog", "stream"),
    ("events/?since=2026-01-02T00:00:00Z", "eventlog", ""),
    ("events/?until=2126-01-02T00:00:00Z", "eventlog", ""),
]

OTHERS = ("enable_sort", "enable_seqscan", "enable_bitmapscan")


def fill(customer: UUID = ONE) -> None:
    """Some thousand rows in each table, and what the planner should know of them."""
    ids = [UUID(int=number) for number in range(ROWS)]
    when = [START + timedelta(minutes=number) for number in range(ROWS)]
    User.objects.bulk_create(
        User(id=id, version=1, email=f"u{id.int}@example.org", mailbox=f"u{id.int}@example.org", name="U",
             status=_rare(id, "inactive", "active"), registered_at=at, updated_at=at)
        for id, at in zip(ids, when, strict=True)
    )  # fmt: skip
    Customer.objects.bulk_create(Customer(id=id, version=1, name="U", active=True, updated_at=START) for id in ids)
    Order.objects.bulk_create(
        Order(id=id, version=1, customer_id=customer if id.int % 10 == 7 else id, total="1", lines=[], placed_at=at,
              status=_rare(id, "shipped", "placed"), currency=_rare(id, "KWD", "EUR"), placed_position=0, updated_at=at)
        for id, at in zip(ids, when, strict=True)
    )  # fmt: skip
    days = [START - timedelta(days=number) for number in range(ROWS)]
    OrderSummary.objects.bulk_create(
        OrderSummary(key=f"{day:%Y-%m-%d} EUR", day=day, currency="EUR", orders=1, revenue="1") for day in days
    )
    for number in range(10):
        store.append(f"thing-{number}", [Counted(n) for n in range(ROWS // 10)], expected_version=0)
    few = [UserDeactivated("left")] * 60
    store.append(f"user-{ONE}", few, expected_version=0, metadata={"correlation_id": str(ONE)})
    for alias in {alias for _, alias, _ in LISTS}:
        with connections[alias].cursor() as cursor:
            cursor.execute("ANALYZE")


def _rare(id: UUID, rare: str, common: str) -> str:
    return common if id.int % 30 else rare


def queries(api: Api, path: str, alias: str) -> Iterator[str]:
    """What the first page and the next one ask a database."""
    for _ in range(2):
        with CaptureQueriesContext(connections[alias]) as captured:
            answer = Answer(api.client.get(path, headers=api.headers))
        assert answer.status == 200, answer
        assert answer["results"], path
        yield from (query["sql"] for query in captured.captured_queries if query["sql"].startswith("SELECT"))
        if answer["next"] is None:
            return
        path = answer["next"] if isinstance(answer["next"], str) else f"{path}&after={answer['next']}"


def plan(alias: str, sql: str) -> list[str]:
    """The steps by which an engine would answer; on PostgreSQL others than an index only where there is none.

    What a few thousand rows cost either way is too close for the planner's own taste to be the same every time.
    """
    postgresql = connections[alias].vendor == "postgresql"
    with connections[alias].cursor() as cursor:
        for choice in OTHERS if postgresql else ():
            cursor.execute(f"SET {choice} = off")
        cursor.execute(("EXPLAIN " if postgresql else "EXPLAIN QUERY PLAN ") + sql.replace("%", "%%"))
        steps = [str(row[-1]).strip() for row in cursor.fetchall()]
        for choice in OTHERS if postgresql else ():
            cursor.execute(f"RESET {choice}")
    return steps


def faults(lines: list[str], column: str) -> list[str]:
    """The steps of a plan that no index serves; also where none searches by the column."""
    bad = [line for line in lines if re.search(r"Seq Scan|^SCAN (?!e$)(?!.*USING)", line)]  # e is the page itself
    bad += [line for line in lines if re.search(r"\bSort\b|TEMP B-TREE", line)]
    searched = [line for line in lines if "Index Cond" in line or line.startswith("SEARCH")]
    name = "rowid" if column == "position" and connection.vendor == "sqlite" else column
    if column and not any(re.search(rf"\b{name}\b", line.partition("(")[2]) for line in searched):
        bad.append(f"no search by {column}")
    return bad


def is_of_a_list(sql: str) -> bool:
    return "LIMIT 51" in sql or "max(" in sql.lower()


def test_every_filter_order_and_page_is_served_by_an_index(api: Api) -> None:
    ann = api.customer()
    fill(UUID(ann.user_id))
    staff, found = api.staff, {}
    asked = [(staff, path, alias, column) for path, alias, column in LISTS]
    asked.append((staff, f"orders/?customer={ann.user_id}", "orders", "customer_id"))
    asked.append((ann, "orders/", "orders", "customer_id"))  # one's own
    asked.append((staff, f"users/{ann.user_id}/history/", "eventlog", "stream"))
    for person, path, alias, column in asked:
        for sql in filter(is_of_a_list, queries(person, f"/api/{path}{'&' if '?' in path else '?'}limit=50", alias)):
            found[path, sql] = faults(plan(alias, sql), "" if "max(" in sql.lower() else column)
    assert {where: bad for where, bad in found.items() if bad} == {}
    assert len(found) > len(asked)


def test_a_filter_or_an_order_without_an_index_is_found() -> None:
    fill()
    for where, order in (({"total": "2"}, "-placed_at"), ({}, "tracking_number")):
        with CaptureQueriesContext(connections["orders"]) as captured:
            list(Order.objects.filter(**where).order_by(order)[:50])
        assert faults(plan("orders", captured.captured_queries[0]["sql"]), next(iter(where), "")) != []


def plan_for_any(query: str, parameters: Sequence[Any]) -> list[str]:
    """The steps of a statement that is prepared, so that the planner does not know what is asked for."""
    with connections["eventlog"].cursor() as cursor:
        if connection.vendor == "sqlite":
            return [row[-1] for row in cursor.execute(f"EXPLAIN QUERY PLAN {query}", parameters).fetchall()]
        cursor.execute("SET plan_cache_mode = force_generic_plan")
        numbers = iter(range(1, 1 + len(parameters)))
        cursor.execute("PREPARE asked AS " + re.sub("%s", lambda _: f"${next(numbers)}", query))
        try:
            cursor.execute(f"EXPLAIN EXECUTE asked ({', '.join(map(repr, parameters))})")
            return [row[0] for row in cursor.fetchall()]
        finally:
            cursor.execute("DEALLOCATE asked")
            cursor.execute("RESET plan_cache_mode")


def is_one_look(steps: list[str], column: str) -> bool:
    """Does the plan go to a place in the index on this column and the position?"""
    place = rf"{column}=\? AND position>\?" if connection.vendor == "sqlite" else rf"Index Cond: \(ROW\(\(?{column}\b"
    return any(re.search(place, step) for step in steps)


@pytest.mark.parametrize("column", ["type", "category"])
def test_looking_for_an_event_of_a_kind_beyond_a_position_is_one_look_at_an_index(column: str) -> None:
    fill()
    log, engines = connections["eventlog"], [SQLite, PostgreSQL]
    mine, other = engines if log.vendor == "sqlite" else engines[::-1]
    for until in (None, 10**9):
        assert is_one_look(plan_for_any(*mine(log).next_of_kind(column, "none", 0, until)), column)
        # So each has its own.
        assert not is_one_look(plan_for_any(*other(log).next_of_kind(column, "none", 0, until)), column)
