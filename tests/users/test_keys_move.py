"""The data keys of an older installation move from `users` to their own database, whatever comes in between."""

import importlib
from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.apps import apps
from django.core.management import call_command
from django.db import connections

from apps.eventlog.dispatch import dispatch
from apps.eventlog.encryption import data_keys
from apps.eventlog.encryption.models import PersonalKey
from apps.eventlog.models import StoredEvent
from apps.users.models import User
from apps.users.write.commands import EraseUser, RegisterUser
from tests.support.erase import erase
from tests.support.fold import folded, projected

MOVE = importlib.import_module("apps.users.migrations.0004_keys_move_out")
BATCH = 3  # so that there are several
OLD = "users_personalkey"


class Killed(Exception):
    pass


@pytest.fixture
def older(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[UUID]]:
    """An installation whose keys are in `users`: seven people, the first of them erased."""
    monkeypatch.setattr(MOVE, "BATCH", BATCH)
    people = [uuid4() for _ in range(7)]
    for number, person in enumerate(people):
        dispatch(RegisterUser(person, f"m{number}@example.net", f"M {number}"))
    dispatch(EraseUser(people[0], "by letter"))
    call_command("migrate", "users", "0003", verbosity=0)
    put(OLD, list(PersonalKey.objects.values_list("subject", "wrapped", "wrapped_by", "destroyed_at")))
    erase("keys")
    yield people
    call_command("migrate", verbosity=0)


def put(table: str, rows: list[tuple[Any, ...]]) -> None:
    connection = connections["users"]
    field = PersonalKey._meta.pk
    statement = f"INSERT INTO {table} (subject, wrapped, wrapped_by, destroyed_at) VALUES (%s, %s, %s, %s)"
    with connection.cursor() as cursor:
        for subject, *others in rows:
            cursor.execute(statement, [field.get_db_prep_value(subject, connection), *others])


def old_rows() -> int | None:
    with connections["users"].cursor() as cursor:
        if OLD not in connections["users"].introspection.table_names(cursor):
            return None
        cursor.execute(f"SELECT count(*) FROM {OLD}")
        return cursor.fetchone()[0]


def migrate() -> None:
    call_command("migrate", verbosity=0)


def assert_moved(people: list[UUID]) -> None:
    assert old_rows() is None
    assert PersonalKey.objects.count() == len(people) + 1  # and the installation's own
    assert data_keys.find(people).keys() == set(people[1:])
    call_command("replay_events", "--no-progress")
    assert User.objects.get(id=people[0]).name == "[erased]"
    assert {user.name for user in User.objects.exclude(id=people[0])} == {f"M {number}" for number in range(1, 7)}
    assert projected() == folded()


def test_keys_move_with_what_was_destroyed(older: list[UUID]) -> None:
    assert (old_rows(), PersonalKey.objects.count()) == (8, 0)
    migrate()
    assert_moved(older)
    migrate()
    assert_moved(older)


@pytest.mark.parametrize("step", ["copy", "compare"])
@pytest.mark.parametrize("calls", [1, 2])
def test_killed_in_between_the_next_run_moves_them(
    older: list[UUID], monkeypatch: pytest.MonkeyPatch, step: str, calls: int
) -> None:
    seen, work = [], getattr(MOVE, step)

    def killed(*arguments: Any) -> None:
        seen.append(1)
        if len(seen) > calls:
            raise Killed
        work(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(MOVE, step, killed)
        with pytest.raises(Killed):
            migrate()
    assert old_rows() == 8
    migrate()
    assert_moved(older)


def test_who_is_erased_between_two_runs_stays_erased(older: list[UUID], monkeypatch: pytest.MonkeyPatch) -> None:
    """By a process of the version before, in `users`; or by one of this version, in `keys`."""
    with monkeypatch.context() as patch:
        patch.setattr(MOVE, "compare", lambda *_: (_ for _ in ()).throw(Killed))
        with pytest.raises(Killed):
            migrate()
    one, other = older[1:3]
    prepared = PersonalKey._meta.pk.get_db_prep_value(one, connections["users"])
    with connections["users"].cursor() as cursor:
        cursor.execute(f"UPDATE {OLD} SET wrapped = NULL, wrapped_by = '' WHERE subject = %s", [prepared])
    data_keys.destroy(other)
    migrate()
    assert data_keys.find(older).keys() == set(older[3:])
    assert PersonalKey.objects.get(subject=one).destroyed_at


@pytest.mark.parametrize("fault", ["lost", "changed"])
def test_nothing_goes_if_the_copy_differs(older: list[UUID], monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
    copy = MOVE.copy

    def faulty(batch: list[Any], new: Any) -> None:
        if fault == "lost":
            copy(batch[1:], new)
        else:
            batch[-1].wrapped = bytes(batch[-1].wrapped or b"") + b"!"
            copy(batch, new)

    with monkeypatch.context() as patch:
        patch.setattr(MOVE, "copy", faulty)
        with pytest.raises(MOVE.KeysNotMoved, match="did not arrive" if fault == "lost" else "two different data keys"):
            migrate()
    assert old_rows() == 8
    erase("keys")


def test_without_their_database_the_keys_stay(older: list[UUID], monkeypatch: pytest.MonkeyPatch) -> None:
    tables = type(connections["keys"].introspection).table_names
    with monkeypatch.context() as patch:
        patch.setattr(
            type(connections["keys"].introspection),
            "table_names",
            lambda self, *rest, **more: [name for name in tables(self, *rest, **more) if name != "keys_personalkey"],
        )
        with pytest.raises(MOVE.KeysNotMoved, match=r"run .manage\.py migrate"):
            call_command("migrate", "users", verbosity=0)
    assert old_rows() == 8


def test_going_back_does_not_drop_keys_that_have_not_moved(older: list[UUID]) -> None:
    with pytest.raises(RuntimeError, match="moves them, first"):
        call_command("migrate", "users", "zero", verbosity=0, interactive=False)
    assert old_rows() == 8
    migrate()
    assert_moved(older)


def test_a_read_database_without_any_key_migrates_by_itself() -> None:
    assert not StoredEvent.objects.exists()
    for target in ("0003", "zero"):
        call_command("migrate", "users", target, verbosity=0, interactive=False)
        migrate()  # of all apps, for those that depend on this one went back with it
    assert old_rows() is None
    assert apps.get_model("users", "User") is User
