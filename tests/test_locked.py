"""A locked SQLite database: whoever waits looks again soon, gives up in time, and does nothing twice."""

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import pytest
from django.db import OperationalError, connections, transaction

from apps.eventlog import checkpoints, store
from apps.eventlog import dispatch as dispatching
from apps.eventlog.commands import Command
from apps.eventlog.dispatch import dispatch
from apps.orders.models import Checkpoint, Customer, OrderSummary
from apps.users.models import User
from apps.users.write.commands import RegisterUser, RenameUser
from config.sqlite import base

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
            cursor.executemany(INSERT, [["2026-01-01 EUR"], ["2026-01-02 EUR"]])
        cursor.connection.set_trace_callback(None)
    assert [summary.key for summary in OrderSummary.objects.all()] == ["2026-01-01 EUR"]


def test_a_command_does_not_wait_for_a_long_write_to_the_rows_but_they_follow(
    other: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rebuild holds the database while it builds an index: the request is answered, a thread waits."""
    handed_over: list[threading.Thread] = []

    class Watched(threading.Thread):
        def start(self) -> None:
            handed_over.append(self)
            super().start()

    def request(command: Command) -> None:
        with ThreadPoolExecutor(1) as server:
            server.submit(dispatch, command).result()
            server.submit(connections.close_all)

    monkeypatch.setattr(dispatching, "Thread", Watched)
    user = uuid4()
    dispatch(RegisterUser(user, "ann@example.org", "Ann"))
    other.execute("BEGIN IMMEDIATE")
    began = time.monotonic()
    request(RenameUser(user, "Ann Other"))
    request(RenameUser(user, "Ann Third"))
    assert time.monotonic() - began < 10 < connections["orders"].settings_dict["OPTIONS"]["timeout"]
    assert User.objects.get(id=user).name == "Ann Third"
    assert Customer.objects.get(id=user).name == "Ann"
    assert handed_over[0].is_alive()
    other.execute("COMMIT")
    for thread in handed_over:
        thread.join(10)
    assert Customer.objects.get(id=user).name == "Ann Third"
    assert checkpoints.reached("orders", store.safe_position())
    assert not Checkpoint.objects.exclude(attempts=0).exists()


def test_a_management_command_waits_for_its_rows(other: sqlite3.Connection, monkeypatch: Any) -> None:
    """Its process ends when it returns, and with it every thread."""
    user = uuid4()
    dispatch(RegisterUser(user, "ann@example.org", "Ann"))
    other.execute("BEGIN IMMEDIATE")
    began = time.monotonic()

    def pause(seconds: float) -> None:
        if other.in_transaction and time.monotonic() - began > 2 * dispatching.PATIENCE:
            other.execute("COMMIT")

    monkeypatch.setattr(base.time, "sleep", pause)
    dispatch(RenameUser(user, "Ann Other"))
    assert Customer.objects.get(id=user).name == "Ann Other"
