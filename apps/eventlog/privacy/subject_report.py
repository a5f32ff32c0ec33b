"""Everything that is stored about one person: from the log, from every read model, and from their login."""

from collections.abc import Callable, Iterator
from functools import partial
from heapq import merge
from itertools import groupby, islice
from operator import attrgetter
from typing import Any, NamedTuple
from uuid import UUID

from django.apps import apps
from django.contrib.auth import get_user_model
from django.db.models import Model

from apps.eventlog import store
from apps.eventlog.events import DomainEvent, RecordedEvent
from apps.eventlog.projectors import Projector

Entry = dict[str, Any]
Row = tuple[str, list[Entry]]  # a key, and an entry for each field
# Reads CHUNK rows: from the row with a key on, or from the first; with True, towards the first, or from the last.
Source = Callable[[str | None, bool], list[Row]]

CHUNK = 100


class Location(NamedTuple):
    """Where a value is: the number of its source, the key of its row there, and the number of its field."""

    source: int
    key: str
    field: int


def stored_about(
    subject: UUID, after: Location | None = None, *, backwards: bool = False
) -> Iterator[tuple[Location, Entry]]:
    """Each value and where it was found: `{source, where, field, value}`, and its location.

    With `after`, the values beyond that location; `backwards`, those before it, the last one first. From the log come
    the events of the person's own streams, and the events that name the person as their `subject`. From a read model
    come the rows whose `subject_field` is the person. Reads CHUNK rows at a time, so memory stays constant.
    """
    step = -1 if backwards else 1
    for number, source in list(enumerate(_sources(subject)))[::step]:
        if after and number * step < after.source * step:
            continue
        start = after.key if after and number == after.source else None
        for key, entries in _rows(source, start, backwards):
            for field, entry in list(enumerate(entries))[::step]:
                if not (after and key == start and field * step <= after.field * step):
                    yield Location(number, key, field), entry


def _rows(source: Source, start: str | None, backwards: bool) -> Iterator[Row]:
    """The rows of a source, chunk by chunk."""
    rows = source(start, backwards)
    yield from rows
    while len(rows) == CHUNK:
        last = rows[-1][0]
        rows = source(last, backwards)
        yield from (row for row in rows if row[0] != last)


def _sources(subject: UUID) -> list[Source]:
    """The log, and each table with rows about people, always in the same order."""
    tables = [
        partial(_of_table, model, {column: subject}, [field.attname for field in model._meta.concrete_fields])
        for model in apps.get_models()
        if (column := getattr(model, "subject_field", None))
    ]
    login = partial(_of_table, get_user_model(), {"username": str(subject)}, ["username", "date_joined", "last_login"])
    return [partial(_of_log, subject), *tables, login]


def _of_log(subject: UUID, start: str | None, backwards: bool) -> list[Row]:
    """By position, and each event once: an event in a person's own stream may also name the person."""
    after, end = 0, store.safe_position()
    if start is not None:
        after, end = (0, int(start)) if backwards else (int(start) - 1, end)
    read = partial(store.read_page, after=after, end=end, limit=CHUNK, backwards=backwards)
    categories = {category for projector in Projector.registry.values() for category in projector.categories}
    histories = [read(stream=f"{category}-{subject}") for category in categories]
    naming = [kind for kind in DomainEvent.types.values() if kind.subject]
    histories += [read(types=[kind.type], naming=(kind.subject, str(subject))) for kind in naming]
    position = attrgetter("position")
    merged = groupby(merge(*histories, key=position, reverse=backwards), position)
    return [_of_event(next(same)) for _, same in islice(merged, CHUNK)]


def _of_event(recorded: RecordedEvent) -> Row:
    where = f"{recorded.stream} {recorded.type} at position {recorded.position}"
    return str(recorded.position), [_entry("log", where, field, value) for field, value in recorded.data.items()]


def _of_table(
    model: type[Model], where: dict[str, Any], fields: list[str], start: str | None, backwards: bool
) -> list[Row]:
    bound = {} if start is None else {"pk__lte" if backwards else "pk__gte": start}
    rows = model._default_manager.filter(**where, **bound).order_by("-pk" if backwards else "pk")[:CHUNK]
    table = model._meta.db_table
    return [(str(row.pk), [_entry(table, str(row.pk), name, getattr(row, name)) for name in fields]) for row in rows]


def _entry(source: str, where: str, field: str, value: Any) -> Entry:
    return {"source": source, "where": where, "field": field, "value": value}
