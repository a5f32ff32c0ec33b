"""Projectors: live and replayed rows equal a plain fold of the log, and a bad event blocks nobody."""

import os
import threading
from typing import Any
from uuid import uuid4

import pytest
from django.core.management import CommandError, call_command
from django.db import connections, models
from hypothesis import given, settings
from hypothesis import strategies as st

from apps.eventlog import store
from apps.eventlog.delivery import checkpoints, projecting
from apps.eventlog.dispatch import dispatch
from apps.eventlog.models import DeadLetter
from apps.eventlog.projectors import Projector, services
from apps.eventlog.replay import rebuild
from apps.eventlog.replay.rebuild_lock import AlreadyRunning, one_rebuild_at_a_time
from apps.orders.models import Checkpoint as OrdersCheckpoint
from apps.orders.models import DeadLetter as OrdersDeadLetter
from apps.orders.models import Order
from apps.orders.read.projectors import OrderProjector, SummaryProjector
from apps.users.events import UserRegistered, UserRenamed
from apps.users.models import DeadLetter as UsersDeadLetter
from apps.users.models import User
from apps.users.read.projectors import UserProjector
from apps.users.write.commands import RegisterUser, RenameUser
from tests.eventlog.events import Counted
from tests.support.erase import erase
from tests.support.fold import folded, projected
from tests.support.history import forget_rows, make_history


def catch_up(batch: int = projecting.BATCH) -> None:
    for service in services():
        projecting.catch_up(service, batch)


def test_a_replay_appends_nothing_and_live_delivery_goes_on_after_it() -> None:
    make_history(seed=1)
    head = store.head()
    call_command("replay_events", "--no-progress", verbosity=0)
    assert store.head() == head
    make_history(seed=2)
    assert projected() == folded()


def test_readers_see_the_old_rows_until_the_switch(monkeypatch: pytest.MonkeyPatch) -> None:
    dispatch(RegisterUser(uuid4(), "ann@example.org", "Ann"))
    User.objects.update(name="the old row")
    seen: list[str] = []

    def look(kind: Any, replay: Any, shadows: Any, switch: Any = rebuild._switch) -> None:
        seen.append(User.objects.get().name)
        switch(kind, replay, shadows)

    monkeypatch.setattr(rebuild, "_switch", look)
    rebuild.rebuild(UserProjector)
    assert (seen, User.objects.get().name) == (["the old row"], "Ann")


def test_an_interrupted_replay_leaves_the_old_rows_and_no_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    make_history()
    before, tables = projected(), _tables("orders")
    monkeypatch.setattr(rebuild, "failpoint", lambda name: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(CommandError, match="the old rows stand"):
        call_command("replay_events", "--projector", "OrderProjector", "--no-progress")
    assert (projected(), _tables("orders")) == (before, tables)


def test_a_replay_keeps_the_tables_as_the_migrations_made_them() -> None:
    make_history()
    before = {service: _tables(service) for service in services()}
    for _ in range(2):
        call_command("replay_events", "--no-progress", verbosity=0)
    assert {service: _tables(service) for service in services()} == before
    call_command("makemigrations", "--check", "--dry-run", verbosity=0)


@pytest.mark.postgres
def test_a_replay_keeps_unique_constraints() -> None:
    make_history()
    once = [
        models.UniqueConstraint(fields=[name, "id"], name=f"orders_order_one_{name}") for name in ("currency", "total")
    ]
    try:
        with connections["orders"].schema_editor() as editor:
            for constraint in once:
                editor.add_constraint(Order, constraint)
        before = _tables("orders")
        rebuild.rebuild(OrderProjector)
        assert _tables("orders") == before
    finally:
        with connections["orders"].schema_editor() as editor:
            for constraint in once:
                editor.remove_constraint(Order, constraint)


def test_what_is_appended_during_a_replay_is_in_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    make_history(seed=1)

    def late(kind: Any, replay: Any, shadows: Any, switch: Any = rebuild._switch) -> None:
        make_history(seed=len(kind.name))
        switch(kind, replay, shadows)

    monkeypatch.setattr(rebuild, "_switch", late)
    rebuild.rebuild(OrderProjector)
    rebuild.rebuild(SummaryProjector)
    assert projected() == folded()


def test_one_replay_of_a_projector_at_a_time() -> None:
    refused: list[bool] = []

    def second() -> None:
        try:
            rebuild.rebuild(UserProjector)
        except AlreadyRunning:
            refused.append(True)
        finally:
            connections.close_all()

    with one_rebuild_at_a_time(UserProjector):
        thread = threading.Thread(target=second)
        thread.start()
        thread.join()
    assert refused == [True]


def test_an_unknown_event_is_parked_and_its_stream_waits() -> None:
    bad, good = uuid4(), uuid4()
    store.append(f"user-{bad}", [UserRegistered("bad@example.org", "Bad"), Counted()], expected_version=0)
    DomainEventTypes.hide(Counted)
    try:
        dispatch(RegisterUser(good, "good@example.org", "Good"))
        store.append(f"user-{bad}", [UserRenamed("Worse")], expected_version=2)
        catch_up()
    finally:
        DomainEventTypes.show(Counted)
    assert User.objects.get(id=good).name == "Good"
    assert User.objects.get(id=bad).name == "Bad"
    letters = UsersDeadLetter.objects.values_list("position", "status", "attempts")
    assert list(letters) == [(2, DeadLetter.Status.FAILED, 1), (4, DeadLetter.Status.WAITING, 0)]
    assert "eventlog.Counted" in UsersDeadLetter.objects.first().error
    assert checkpoints.positions("users") == {"UserProjector": 4}


class DomainEventTypes:
    """Makes this code forget an event type, as an older version of it would not know it."""

    @staticmethod
    def hide(kind: type[Counted]) -> None:
        del kind.types[kind.type]

    @staticmethod
    def show(kind: type[Counted]) -> None:
        kind.types[kind.type] = kind


def test_an_event_from_newer_code_is_parked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(UserRegistered, "schema_version", 2)
    store.append(f"user-{uuid4()}", [UserRegistered("a@example.org", "A")], expected_version=0)
    monkeypatch.setattr(UserRegistered, "schema_version", 1)
    catch_up()
    assert User.objects.count() == 0
    assert "version 2" in UsersDeadLetter.objects.get().error


def test_a_failing_handler_parks_in_live_delivery_and_in_replay(monkeypatch: pytest.MonkeyPatch) -> None:
    ids = [uuid4() for _ in range(3)]
    for number, id in enumerate(ids):
        dispatch(RegisterUser(id, f"u{number}@example.org", f"User {number}"))
    good = UserProjector.renamed

    def poisoned(self: UserProjector, row: User, event: UserRenamed, recorded: Any) -> None:
        if row.pk == ids[1]:
            raise ZeroDivisionError("poisoned")
        good(self, row, event, recorded)

    monkeypatch.setattr(UserProjector, "renamed", poisoned)
    for id in ids:
        dispatch(RenameUser(id, "Renamed"))
    live = list(UsersDeadLetter.objects.values("projector", "stream", "position", "status", "error"))
    rows = projected()["users"]
    rebuild.rebuild(UserProjector, batch=2)
    assert list(UsersDeadLetter.objects.values("projector", "stream", "position", "status", "error")) == live
    assert projected()["users"] == rows
    [error] = [letter["error"] for letter in live]
    assert error.startswith("ZeroDivisionError: poisoned (tests/eventlog/delivery/test_projecting.py, line ")
    assert error.endswith(', in poisoned: raise ZeroDivisionError("poisoned"))')
    assert sorted(User.objects.values_list("name", flat=True)) == ["Renamed", "Renamed", "User 1"]

    monkeypatch.setattr(UserProjector, "renamed", good)
    rebuild.rebuild(UserProjector)
    assert (UsersDeadLetter.objects.count(), projected()) == (0, folded())


def test_a_failing_projection_does_not_fail_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(projecting, "catch_up", lambda service: (_ for _ in ()).throw(RuntimeError("no database")))
    dispatch(RegisterUser(uuid4(), "ann@example.org", "Ann"))
    assert (store.head(), User.objects.count()) == (1, 0)
    monkeypatch.undo()
    catch_up()
    assert User.objects.count() == 1


def test_a_database_that_fails_in_a_projection_fails_no_command_and_the_next_catches_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    project, failures = UserProjector.project, [True]

    def failing(self: UserProjector, events: Any) -> None:
        if failures.pop() if failures else False:
            with connections["users"].cursor() as cursor:
                if connections["users"].vendor == "postgresql":
                    cursor.execute("SELECT pg_terminate_backend(pg_backend_pid())")
                interrupts = [1]
                cursor.connection.set_progress_handler(lambda: interrupts.pop() if interrupts else 0, 1)
        project(self, events)

    monkeypatch.setattr(UserProjector, "project", failing)
    dispatch(RegisterUser(uuid4(), "ann@example.org", "Ann"), wait=False)
    assert (failures, store.head(), User.objects.count()) == ([], 1, 0)
    dispatch(RegisterUser(uuid4(), "bob@example.org", "Bob"))
    assert (store.head(), User.objects.count(), UsersDeadLetter.objects.count()) == (2, 2, 0)
    assert projected() == folded()


def test_a_checkpoint_never_passes_the_safe_position() -> None:
    make_history()
    for service in services():
        assert all(place <= store.safe_position() for place in checkpoints.positions(service).values())


def test_many_threads_project_each_event_once() -> None:
    make_history(commands=120)
    forget_rows()

    def run() -> None:
        try:
            catch_up(batch=3)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=run) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert projected() == folded()


def test_projectors_that_stand_apart_come_together_again() -> None:
    make_history(users=1, commands=5)
    OrdersCheckpoint.objects.filter(name="CustomerProjector").update(position=1)
    projecting.catch_up("orders")
    dispatch(RenameUser(User.objects.get().id, "Renamed"))
    assert set(checkpoints.positions("orders").values()) == {store.safe_position()}


@settings(max_examples=int(os.environ.get("EXAMPLES", "7")), deadline=None)
@given(seed=st.integers(0, 10_000), batch=st.integers(1, 20))
def test_any_history_gives_the_rows_of_a_plain_fold_live_and_by_a_replay(seed: int, batch: int) -> None:
    for alias in connections:
        erase(alias)
    make_history(users=2, commands=12, seed=seed)
    assert projected() == folded()
    assert folded()["users"]
    for kind in Projector.registry.values():
        rebuild.rebuild(kind, batch=batch)
    assert projected() == folded()
    assert OrdersDeadLetter.objects.count() == 0


def _tables(alias: str) -> dict[str, list[str]]:
    """Every table of a database with the names of its indexes and constraints."""
    introspection = connections[alias].introspection
    with connections[alias].cursor() as cursor:
        names = introspection.table_names(cursor)
        return {name: sorted(introspection.get_constraints(cursor, name)) for name in names}
