"""Management commands: what is wrong with a database is said in a line, with the way out."""

from collections.abc import Iterator

import pytest
from django.core.management import CommandError, call_command
from django.db import OperationalError, ProgrammingError, connections

from apps.eventlog import store
from apps.eventlog.management.commands import dead_letters


@pytest.fixture
def without_table() -> Iterator[str]:
    table, other = "orders_deadletter", "orders_deadletter_away"
    with connections["orders"].cursor() as cursor:
        cursor.execute(f"ALTER TABLE {table} RENAME TO {other}")
        yield table
        cursor.execute(f"ALTER TABLE {other} RENAME TO {table}")


def test_a_missing_table_is_named_with_what_makes_it(without_table: str) -> None:
    with pytest.raises(CommandError, match=rf"{without_table}.*; run manage.py migrate first$"):
        call_command("dead_letters", "list")


def test_a_database_that_cannot_be_reached_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    connection = connections["orders"]
    connection.close()
    monkeypatch.setitem(connection.settings_dict, "NAME", "/nowhere/at/all")
    with pytest.raises(CommandError, match=r"unable to open|/nowhere/at/all") as caught:
        call_command("dead_letters", "list")
    assert "migrate" not in str(caught.value)
    connection.close()


def test_a_fault_of_ours_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def faulty(service: str) -> None:
        with connections[store.ALIAS].cursor() as cursor:
            cursor.execute("SELECT count(*, *)")

    monkeypatch.setattr(dead_letters, "open_dead_letters", faulty)
    with pytest.raises((ProgrammingError, OperationalError)):
        call_command("dead_letters", "list")
