"""Fields about a person are marked as such, so that they can be forgotten."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, get_args, get_type_hints

from apps.eventlog.commands import Command
from apps.eventlog.events import DomainEvent, Personal, personal_fields
from apps.eventlog.processes import Process

OBVIOUS = re.compile(r"(^|_)(name|e_?mail|phone|mobile|address|street|birth\w*|iban)(_(?!id$)|$)")


def unmarked(kind: type[Any], marked: tuple[str, ...] = ()) -> Iterator[str]:
    """The fields of an event, and of what it holds, that are obviously personal and not marked."""
    for field in fields(kind):
        hint = get_type_hints(kind)[field.name]
        if OBVIOUS.search(field.name) and field.name not in marked:
            yield f"{kind.__name__}.{field.name}"
        for inner in (hint, *get_args(hint)):
            if is_dataclass(inner) and isinstance(inner, type):
                yield from unmarked(inner)


def test_no_event_carries_an_obviously_personal_field_unmarked() -> None:
    events = [kind for kind in DomainEvent.types.values() if kind.__module__.startswith("apps.")]
    assert len(events) > 5
    assert [found for kind in events for found in unmarked(kind, kind.personal)] == []


def test_no_command_and_no_process_keeps_an_obviously_personal_field_unmarked() -> None:
    commands = [kind for kind in Command.__subclasses__() if kind.__module__.startswith("apps.")]
    assert len(commands) > 5
    assert [found for kind in commands for found in unmarked(kind, personal_fields(kind))] == []
    states = [(kind, name) for kind in Process.registry.values() for name in kind.state_type.__struct_fields__]
    assert [(kind, name) for kind, name in states if OBVIOUS.search(name) and name not in kind.personal] == []


def test_an_unmarked_field_is_found_also_where_it_is_nested() -> None:
    @dataclass
    class Parcel:
        street: str
        weight: int

    @dataclass
    class Sent:
        parcels: tuple[Parcel, ...]
        shipping_address: str
        user_name: Personal[str]
        filename: str

    assert list(unmarked(Sent, ("user_name",))) == ["Parcel.street", "Sent.shipping_address"]
