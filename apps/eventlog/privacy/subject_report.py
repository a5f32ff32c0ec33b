"""Everything that is held about one person: from the log, from every read model, and their login."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple
from uuid import UUID

from django.apps import apps
from django.contrib.auth import get_user_model
from django.db.models import Model, Q, QuerySet

from apps.eventlog import store
from apps.eventlog.events import DomainEvent, RecordedEvent
from apps.eventlog.projectors import Projector

Held = dict[str, Any]

CHUNK = 100  # rows of a source that are read at once


class Place(NamedTuple):
    """Where a value stands: the number of its source, the key of its row there, the number of its field."""

    source: int
    key: str
    field: int


class Source(NamedTuple):
    """Rows about a person in the order of a unique column, and the values of each."""

    rows: QuerySet[Any]
    column: str
    read: Callable[[QuerySet[Any]], Sequence[Any]]
    values: Callable[[Any], list[Held]]

    def items(self, start: str | None, backwards: bool) -> Iterator[tuple[str, list[Held]]]:
        """The key and the values of each row, from that of a key on, or of all."""
        lookup, order = ("lt", f"-{self.column}") if backwards else ("gt", self.column)
        beyond = Q() if start is None else Q(**{f"{self.column}__{lookup}e": start})
        while True:
            chunk = self.read(self.rows.filter(beyond).order_by(order)[:CHUNK])
            for row in chunk:
                yield str(getattr(row, self.column)), self.values(row)
            if len(chunk) < CHUNK:
                return
            beyond = Q(**{f"{self.column}__{lookup}": getattr(chunk[-1], self.column)})


def held_about(subject: UUID, after: Place | None = None, *, backwards: bool = False) -> Iterator[tuple[Place, Held]]:
    """Each value, `{source, where, field, value}`, with its place; of those beyond a place, if one is given.

    The log gives the events of the person's own streams, and those that name the person as their
    `subject`; a read model gives the rows whose `subject_field` is the person.
    """
    step = -1 if backwards else 1
    for number, source in list(enumerate(_sources(subject)))[::step]:
        if after and number * step < after.source * step:
            continue
        start = after.key if after and number == after.source else None
        for key, values in source.items(start, backwards):
            for field, held in list(enumerate(values))[::step]:
                if not (after and key == start and field * step <= after.field * step):
                    yield Place(number, key, field), held


def _sources(subject: UUID) -> Iterator[Source]:
    yield Source(store.find().filter(_events_of(subject)), "position", store.recorded, _of_event)
    for model in apps.get_models():
        if column := getattr(model, "subject_field", None):
            yield _table(model, {column: subject}, [field.attname for field in model._meta.concrete_fields])
    yield _table(get_user_model(), {"username": str(subject)}, ["username", "date_joined", "last_login"])


def _events_of(subject: UUID) -> Q:
    categories = {category for projector in Projector.registry.values() for category in projector.categories}
    named = Q(stream__in=[f"{category}-{subject}" for category in categories])
    for kind in DomainEvent.types.values():
        if kind.subject:
            named |= Q(type=kind.type, **{f"data__{kind.subject}": str(subject)})
    return named


def _of_event(recorded: RecordedEvent) -> list[Held]:
    where = f"{recorded.stream} {recorded.type} at position {recorded.position}"
    return [_held("log", where, field, value) for field, value in recorded.data.items()]


def _table(model: type[Model], where: dict[str, Any], fields: list[str]) -> Source:
    table = model._meta.db_table
    return Source(
        model._default_manager.filter(**where),
        model._meta.pk.attname,  # type: ignore[union-attr]
        list,
        lambda row: [_held(table, str(row.pk), field, getattr(row, field)) for field in fields],
    )


def _held(source: str, where: str, field: str, value: Any) -> Held:
    return {"source": source, "where": where, "field": field, "value": value}
