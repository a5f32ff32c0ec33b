"""What follows a command in its request: the rows, unless that takes long; then a thread brings them."""

import math
import sqlite3
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from decimal import Decimal
from functools import partial
from types import SimpleNamespace
from uuid import uuid4

import pytest
from django.db import connections

from apps.eventlog import store
from apps.eventlog.commands import Command
from apps.eventlog.database.sqlite import base as sqlite_base
from apps.eventlog.delivery import checkpoints, inline
from apps.eventlog.dispatch import dispatch
from apps.orders.events import OrderLine
from apps.orders.models import Checkpoint, Customer, Order
from apps.orders.write.commands import PlaceOrder
from apps.users.models import User
from apps.users.write.commands import DeactivateUser, RegisterUser, RenameUser
from tests.support.fold import folded, projected
from tests.support.history import forget_rows, make_history

Threads = list[threading.Thread]


@pytest.fixture
def handed_over(monkeypatch: pytest.MonkeyPatch) -> Threads:
    """The threads to which work was left."""
    threads: Threads = []

    class Watched(threading.Thread):
        def start(self) -> None:
            threads.append(self)
            super().start()

    monkeypatch.setattr(inline, "Thread", Watched)
    return threads


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> dict[int | None, float]:
    """The seconds for which each thread, by its number, asks to sleep because a SQLite database is locked.

    However busy the machine is, a thread asks for no more than its limit, because no sleep is shorter than asked for.
    """
    asked: dict[int | None, float] = defaultdict(float)

    def sleep(seconds: float) -> None:
        asked[threading.get_ident()] += seconds
        time.sleep(seconds)

    monkeypatch.setattr(sqlite_base, "time", SimpleNamespace(monotonic=time.monotonic, sleep=sleep))
    return asked


@contextmanager
def locked(alias: str) -> Iterator[sqlite3.Connection]:
    """Somebody else writes to a SQLite database."""
    other = sqlite3.connect(connections[alias].settings_dict["NAME"], isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    yield other
    other.close()


def request(command: Command) -> None:
    """Dispatch as a server does: in a thread, without waiting."""
    in_thread(command, wait=False)


def in_thread(command: Command, *, wait: bool) -> None:
    with ThreadPoolExecutor(1) as thread:
        thread.submit(dispatch, command, wait=wait).result()
        thread.submit(connections.close_all)


def test_a_request_brings_the_rows_itself(handed_over: Threads, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inline, "TIME_LIMIT", math.inf)  # however slow the machine
    user = uuid4()
    request(RegisterUser(user, "ann@example.org", "Ann"))
    assert Customer.objects.get(id=user).name == "Ann"
    assert not handed_over


@pytest.mark.sqlite
def test_a_request_does_not_wait_for_a_long_write_to_the_rows_but_they_follow(
    handed_over: Threads, waits: dict[int | None, float]
) -> None:
    """A rebuild holds the database while it builds an index."""
    user = uuid4()
    dispatch(RegisterUser(user, "ann@example.org", "Ann"))
    with locked("orders") as other:
        for name in ("Ann Other", "Ann Third"):
            request(RenameUser(user, name))
        waited = sum(waits.values()) - sum(waits[thread.ident] for thread in handed_over)
        assert 0 < waited <= 2 * (inline.LOCK_TIMEOUT + sqlite_base.PAUSE)
        assert User.objects.get(id=user).name == "Ann Third"
        assert Customer.objects.get(id=user).name == "Ann"
        assert handed_over[0].is_alive()
        other.execute("COMMIT")
        for thread in handed_over:
            thread.join(10)
    assert Customer.objects.get(id=user).name == "Ann Third"
    assert checkpoints.reached("orders", store.safe_position())
    assert not Checkpoint.objects.exclude(attempts=0).exists()


@pytest.mark.sqlite
@pytest.mark.parametrize("send", [dispatch, partial(in_thread, wait=True)], ids=["main thread", "another thread"])
def test_a_caller_that_waits_finds_the_rows_from_any_thread(
    handed_over: Threads, monkeypatch: pytest.MonkeyPatch, send: Callable[[Command], None]
) -> None:
    user = uuid4()
    dispatch(RegisterUser(user, "ann@example.org", "Ann"))
    with locked("orders") as other:
        until = time.monotonic() + 2 * inline.LOCK_TIMEOUT

        def pause(seconds: float) -> None:
            if other.in_transaction and time.monotonic() > until:
                other.execute("COMMIT")

        monkeypatch.setattr(time, "sleep", pause)
        send(RenameUser(user, "Ann Other"))
    assert Customer.objects.get(id=user).name == "Ann Other"
    assert not handed_over


def test_a_long_backlog_is_left_to_a_thread_with_its_reactions(
    handed_over: Threads, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where a projector or a reactor is new to a long log, or the workers were away."""
    user, order = uuid4(), uuid4()
    make_history()
    dispatch(RegisterUser(user, "ann@example.org", "Ann"))
    dispatch(PlaceOrder(order, user, "EUR", (OrderLine("A-1", 1, Decimal("2.50")),)))
    forget_rows()
    monkeypatch.setattr(inline, "TIME_LIMIT", 0.0)
    request(DeactivateUser(user, "left"))
    assert handed_over
    while handed_over:
        handed_over.pop().join(10)
    assert Order.objects.get(id=order).status == Order.Status.CANCELLED
    assert projected() == folded()
