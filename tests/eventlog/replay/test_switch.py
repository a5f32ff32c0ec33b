"""The switch of a replay: short for readers and writers, and later migrations find what they expect."""

import signal
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from uuid import uuid4

import pytest
from django.db import connections, models, transaction

from apps.eventlog.dispatch import dispatch
from apps.eventlog.replay import rebuild, shadow_postgresql
from apps.eventlog.replay.shadow_table import ShadowTable, TableInUse
from apps.orders.models import Order
from apps.orders.read.projectors import OrderProjector
from apps.users.models import User
from apps.users.read.projectors import UserProjector
from apps.users.write.commands import RegisterUser
from tests.journeys.deployment import eventually
from tests.support.fold import folded, projected
from tests.support.history import make_history


def test_a_later_migration_finds_the_table_it_expects() -> None:
    make_history()
    rebuild.rebuild(OrderProjector)
    connection, index = connections["orders"], Order._meta.indexes[0]
    wider = models.CharField(max_length=4)
    wider.set_attributes_from_name("currency")
    currency = Order._meta.get_field("currency")
    with connection.schema_editor() as editor:
        editor.remove_index(Order, index)
        editor.add_index(Order, index)
        editor.alter_field(Order, currency, wider)
        editor.alter_field(Order, wider, currency)
    assert projected() == folded()
    rebuild.rebuild(OrderProjector)
    assert projected() == folded()


@pytest.mark.sqlite
def test_the_database_is_sound_after_a_switch() -> None:
    make_history()
    rebuild.rebuild(OrderProjector)
    with connections["orders"].cursor() as cursor:
        assert cursor.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        plan = cursor.execute("EXPLAIN QUERY PLAN SELECT id FROM orders_order ORDER BY placed_at, id").fetchall()
    assert "orders_order_placed" in str(plan)


@contextmanager
def rebuilding() -> Iterator[list[BaseException | None]]:
    """A rebuild of the users in a thread; afterwards the list has how it ended."""
    ended: list[BaseException | None] = []

    def run() -> None:
        try:
            rebuild.rebuild(UserProjector)
            ended.append(None)
        except TableInUse as error:
            ended.append(error)
        finally:
            connections.close_all()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield ended
    finally:
        thread.join()


@contextmanager
def somebody_else(statement: str) -> Iterator[None]:
    """A transaction that has done this and stays open, on a connection of its own."""
    other = connections["users"].copy()
    try:
        with other.cursor() as cursor:
            cursor.execute("BEGIN")
            cursor.execute(statement)
            yield
            cursor.execute("COMMIT")
    finally:
        other.close()


def long_reader() -> AbstractContextManager[None]:
    return somebody_else("SELECT count(*) FROM users_user")


def vacuum(table: str) -> AbstractContextManager[None]:
    """The lock of a vacuum that goes on; a real one would soon be over."""
    return somebody_else(f"LOCK TABLE {table} IN SHARE UPDATE EXCLUSIVE MODE")


def waiting_for_the_table() -> bool:
    with connections["users"].cursor() as cursor:
        cursor.execute("SELECT 1 FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND NOT granted")
        return cursor.fetchone() is not None


@pytest.mark.postgres
def test_behind_a_long_reader_the_switch_waits_and_nobody_behind_it() -> None:
    dispatch(RegisterUser(uuid4(), "ann@example.org", "Ann"))
    User.objects.update(name="the old row")
    with rebuilding() as ended:
        with long_reader():
            eventually(waiting_for_the_table)
            dispatch(RegisterUser(uuid4(), "bob@example.org", "Bob"))
            with transaction.atomic(using="users"), connections["users"].cursor() as cursor:
                cursor.execute("SET LOCAL statement_timeout = '1s'")  # longer than the switch asks for the table
                eventually(lambda: set(User.objects.values_list("name", flat=True)) == {"the old row", "Bob"})
            assert ended == []
        eventually(lambda: ended == [None])
    assert projected() == folded()


@pytest.mark.postgres
def test_a_switch_that_never_gets_the_table_leaves_the_old_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rebuild, "PATIENCE", 0.0)
    dispatch(RegisterUser(uuid4(), "ann@example.org", "Ann"))
    with rebuilding() as ended, long_reader():
        eventually(lambda: ended)
    assert isinstance(ended[0], TableInUse)
    assert projected() == folded()
    rebuild.rebuild(UserProjector)


@pytest.mark.postgres
@pytest.mark.parametrize("table", ["users_user", "users_user__rebuild"])
def test_a_vacuum_of_either_table_holds_up_the_switch_and_nothing_else(
    table: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shadow_postgresql, "MAINTENANCE_TIMEOUT", "50ms")
    dispatch(RegisterUser(uuid4(), "ann@example.org", "Ann"))
    User.objects.update(name="the old row")
    with ExitStack() as vacuuming:
        tries: list[float] = []
        index = ShadowTable.build_indexes

        def index_and_vacuum(new: ShadowTable) -> None:
            index(new)
            vacuuming.enter_context(vacuum(table))
            monkeypatch.setattr(rebuild.time, "sleep", try_again)

        def try_again(seconds: float) -> None:
            tries.append(seconds)
            if len(tries) == 3:
                vacuuming.close()
            dispatch(RegisterUser(uuid4(), f"b{len(tries)}@example.org", "Bob"))
            assert set(User.objects.values_list("name", flat=True)) == {"the old row", "Bob"}

        monkeypatch.setattr(ShadowTable, "build_indexes", index_and_vacuum)
        rebuild.rebuild(UserProjector)
    assert len(tries) >= 3
    assert projected() == folded()


def indexes_waited_for() -> int:
    with connections["users"].cursor() as cursor:
        waiting = "wait_event_type = 'Lock' AND query LIKE 'CREATE%INDEX%'"
        cursor.execute(f"SELECT count(*) FROM pg_stat_activity WHERE {waiting}")
        return int(cursor.fetchone()[0])


@pytest.mark.postgres
def test_ctrl_c_does_not_wait_for_an_index() -> None:
    new = ShadowTable(User)
    new.create()
    main = threading.get_ident()

    def interrupt() -> None:
        eventually(lambda: indexes_waited_for() == 2)
        connections.close_all()
        signal.pthread_kill(main, signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    with somebody_else(f'LOCK TABLE "{new.name}" IN ROW EXCLUSIVE MODE'):
        thread.start()
        with pytest.raises(KeyboardInterrupt):
            new.build_indexes()
        assert indexes_waited_for() == 0
    thread.join()
    new.drop()


def waits_for_a_row() -> bool:
    """For much longer than the patience with maintenance, as the test has set it."""
    waiting = "wait_event_type = 'Lock' AND query LIKE '%FOR UPDATE%' AND now() - query_start > interval '200 ms'"
    with connections["users"].cursor() as cursor:
        cursor.execute(f"SELECT 1 FROM pg_stat_activity WHERE {waiting}")
        return cursor.fetchone() is not None


@pytest.mark.postgres
def test_the_switch_waits_for_a_slow_batch_of_live_delivery(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shadow_postgresql, "MAINTENANCE_TIMEOUT", "50ms")
    monkeypatch.setattr(rebuild, "PATIENCE", 0.0)
    dispatch(RegisterUser(uuid4(), "ann@example.org", "Ann"))
    with rebuilding() as ended:
        with somebody_else("SELECT 1 FROM users_checkpoint FOR UPDATE"):
            eventually(waits_for_a_row)
        eventually(lambda: ended)
    assert ended == [None]
    assert projected() == folded()
