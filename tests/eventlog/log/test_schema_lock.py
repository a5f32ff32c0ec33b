"""The lock of event schemas: a change that recorded events do not bear needs a new version and an upcaster."""

from collections.abc import Iterator
from dataclasses import field, make_dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from apps.eventlog import upcasting
from apps.eventlog.events import DomainEvent
from apps.eventlog.log import schema_lock

pytestmark = pytest.mark.django_db(databases=[])

FIELDS: list[Any] = [("number", int), ("lines", list[str]), ("note", str, "")]


def event(*fields: Any, version: int = 1) -> type[DomainEvent]:
    """The event `orders.Invoiced` as a version of the code has it."""
    kind = make_dataclass(
        "Invoiced", fields, bases=(DomainEvent,), frozen=True, namespace={"__module__": "apps.orders.events"}
    )
    kind.schema_version = version  # type: ignore[attr-defined]
    return kind


@pytest.fixture(autouse=True)
def lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A lock file of its own, with version 1 of an event that no other test knows."""
    path = tmp_path / schema_lock.LOCK
    monkeypatch.setattr(schema_lock, "_path", lambda service: path)
    monkeypatch.setattr(
        schema_lock, "_kinds", lambda service: {"orders.Invoiced": DomainEvent.types["orders.Invoiced"]}
    )
    event(*FIELDS)
    schema_lock.lock("orders")
    yield path
    del DomainEvent.types["orders.Invoiced"]


def test_what_is_locked_passes() -> None:
    assert (schema_lock.problems("orders"), schema_lock.unlocked("orders")) == ([], [])


def test_a_new_field_with_a_default_needs_a_lock_but_no_version() -> None:
    event(*FIELDS, ("currency", str, "EUR"))
    assert (schema_lock.problems("orders"), schema_lock.unlocked("orders")) == ([], ["orders.Invoiced version 1"])


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ([("number", int), ("lines", list[str])], "has lost note"),
        ([*FIELDS, ("currency", str, field(kw_only=True))], "now requires currency"),
        ([("number", str), *FIELDS[1:]], "has changed number"),
        ([FIELDS[0], ("lines", list[int]), FIELDS[2]], r"has changed lines\[\]"),
        ([*FIELDS[:2], ("note", str, "none")], "has changed note"),
        ([("nr", int), *FIELDS[1:]], "has lost number"),
    ],
)
def test_an_incompatible_change_is_refused_without_a_new_version(fields: list[Any], said: str, lock: Path) -> None:
    before = lock.read_text()
    event(*fields)
    for options in ([], ["--check"]):
        with pytest.raises(CommandError, match=rf"orders.Invoiced {said}.*: give it a new schema_version"):
            call_command("lock_schemas", *options)
    assert lock.read_text() == before


def test_a_new_version_needs_an_upcaster_and_is_locked_beside_the_old_one(monkeypatch: pytest.MonkeyPatch) -> None:
    kind = event(("nr", int), *FIELDS[1:], version=2)
    assert schema_lock.problems("orders") == ["orders.Invoiced has no upcaster from version 1"]
    monkeypatch.setattr(upcasting, "_upcasters", {("orders.Invoiced", 1): lambda data: {"nr": data.pop("number")}})
    with pytest.raises(CommandError, match="not locked"):
        call_command("lock_schemas", "--check")
    call_command("lock_schemas", stdout=StringIO())
    call_command("lock_schemas", "--check", stdout=StringIO())
    assert [(version, "nr" in str(schema)) for version, schema in schema_lock.versions(kind)] == [(1, False), (2, True)]


def test_an_event_or_a_version_that_the_code_has_lost_is_found(monkeypatch: pytest.MonkeyPatch, lock: Path) -> None:
    monkeypatch.setattr(schema_lock, "_kinds", lambda service: {})
    assert schema_lock.problems("orders") == [
        'orders.Invoiced is in events.lock.json but not in the code; if it was renamed: formerly = ("orders.Invoiced",)'
    ]
    monkeypatch.setattr(
        schema_lock, "_kinds", lambda service: {"orders.Invoiced": DomainEvent.types["orders.Invoiced"]}
    )
    lock.write_text(lock.read_text().replace('"1"', '"2"'))
    assert schema_lock.problems("orders") == [
        "orders.Invoiced is at version 1 in the code, but events.lock.json has version 2"
    ]
