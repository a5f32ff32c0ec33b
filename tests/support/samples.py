"""Events of any service, made from the types of their fields, for a service that `make_history` does not know.

`make_samples(InvoiceProjector)` appends streams of what the projector takes. A test that cares for the values appends
its own events instead.
"""

from contextlib import suppress
from dataclasses import fields, is_dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints
from uuid import UUID, uuid4

from apps.eventlog import store
from apps.eventlog.events import DomainEvent
from apps.eventlog.projectors import Projector

TEXTS = ("A", "EUR", "a@example.org")
VALUES = {
    int: 1,
    bool: True,
    Decimal: Decimal(1),
    UUID: UUID(int=1),
    datetime: datetime(2026, 1, 1, tzinfo=UTC),
    date: date(2026, 1, 1),
    NoneType: None,
}


def make_samples(kind: type[Projector]) -> None:
    """In each category of the projector, a stream that ends with each event it takes, in the order of `events.py`."""
    service = [event for name, event in DomainEvent.types.items() if name.partition(".")[0] == kind.service]
    taken = [event for event in DomainEvent.types.values() if event in kind.methods] or service
    for category in kind.categories:
        for last in range(1, len(taken) + 1):
            store.append(f"{category}-{uuid4()}", [sample_event(event) for event in taken[:last]], expected_version=0)


def sample_event(kind: type[DomainEvent]) -> DomainEvent:
    """An event that may enter the log: texts are the first of `TEXTS` with which it keeps its own rules."""
    for text in TEXTS:
        event = sample(kind, text)
        with suppress(ValueError):
            event.check()
            return event
    raise ValueError(f"no text of TEXTS makes a valid {kind.type}; add one to tests/support/samples.py")


def sample(hint: Any, text: str) -> Any:
    """A value of this type; raises KeyError if it is none that an event may have."""
    arguments = get_args(hint)
    if hint is str:
        return text
    if get_origin(hint) in (Annotated, Union, UnionType):
        return sample(arguments[0], text)
    if get_origin(hint) is Literal:
        return arguments[0]
    if get_origin(hint) in (tuple, list):
        return get_origin(hint)([sample(arguments[0], text)])
    if is_dataclass(hint):
        hints = get_type_hints(hint, include_extras=True)
        return hint(**{field.name: sample(hints[field.name], text) for field in fields(hint)})  # type: ignore[operator]
    return VALUES[hint]
