"""A locked SQLite database: whoever waits looks again soon, gives up in time, and does nothing twice."""

import sqlite3
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.db import OperationalError, connections, transaction

from apps.eventlog.database.sqlite import base
from apps.orders.models import OrderSummary

pytestmark = pytest.mark.sqlite

INSERT = (
    "INSERT INTO orders_ordersummary (key, day, currency, orders, revenue) VALUES (%s, '2026-01-01', 'EUR', 1, '1')"
)


@pytest.fixture
def other() -> Iterator[sqlite3.Connection]:
    """A connection of somebody else to the orders."""
    connection = sqlite3.connect(connections["orders"].settings_dict["NAME"], isolation_level=None, timeout=0)
    yield connection
    connection.close()


def in_a_transaction() -> None:
    with transaction.atomic(using="orders"):
        OrderSummary.objects.update(orders=1)


def alone() -> None:
    OrderSummary.objects.update(orders=1)


@pytest.mark.parametrize("write", [in_a_transaction, alone])
def test_who_waits_looks_again_after_a_short_pause(
    other: sqlite3.Connection, write: Callable[[], None], monkeypatch: Any
) -> None:
    pauses: list[float] = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 30:
            other.execute("COMMIT")

    other.execute("BEGIN IMMEDIATE")
    monkeypatch.setattr(base.time, "sleep", pause)
    write()
    assert pauses == [base.PAUSE] * 30


@pytest.mark.parametrize("write", [in_a_transaction, alone])
def test_who_waits_gives_up_in_time(other: sqlite3.Connection, write: Callable[[], None], monkeypatch: Any) -> None:
    monkeypatch.setitem(connections["orders"].settings_dict["OPTIONS"], "timeout", 0.05)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(OperationalError, match="database is locked"):
        write()


def test_a_transaction_that_has_read_what_is_old_by_now_is_not_tried_again(
    other: sqlite3.Connection, monkeypatch: Any
) -> None:
    """It can never write, however long it waits."""
    pauses: list[float] = []
    monkeypatch.setattr(base.time, "sleep", pauses.append)
    monkeypatch.setitem(connections["orders"].settings_dict["OPTIONS"], "timeout", 0.05)
    with connections["orders"].cursor() as cursor:
        cursor.execute("BEGIN")
        cursor.execute("SELECT count(*) FROM orders_ordersummary").fetchall()
        other.execute(INSERT.replace("%s", "'2026-01-01 EUR'"))
        with pytest.raises(OperationalError, match="database is locked"):
            cursor.execute("UPDATE orders_ordersummary SET orders = 1")
        cursor.execute("ROLLBACK")
    assert pauses == []


def test_many_rows_of_which_some_are_written_are_not_begun_again(other: sqlite3.Connection, monkeypatch: Any) -> None:
    """Without a transaction each row is committed by itself."""
    monkeypatch.setattr(base.time, "sleep", lambda seconds: other.execute("COMMIT"))
    statements: list[str] = []

    def lock_before_the_second(statement: str) -> None:
        statements.append(statement)
        if len(statements) == 2:
            other.execute("BEGIN IMMEDIATE")

    with connections["orders"].cursor() as cursor:
        cursor.connection.set_trace_callback(lock_before_the_second)
        with pytest.raises(OperationalError, match="database is locked"):
            cursor.executemany(INSERT, [("2026-01-01 EUR",), ("2026-01-02 EUR",)])
        cursor.connection.set_trace_callback(None)
    assert [summary.key for summary in OrderSummary.objects.all()] == ["2026-01-01 EUR"]
