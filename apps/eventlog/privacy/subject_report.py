"""Everything that is stored about one person: from the log, from every read model, and from their login."""

from collections.abc import Iterator
from heapq import merge
from itertools import groupby
from operator import attrgetter
from typing import Any
from uuid import UUID

from django.apps import apps
from django.contrib.auth import get_user_model
from django.db.models import Model

from apps.eventlog import store
from apps.eventlog.events import DomainEvent, RecordedEvent
from apps.eventlog.projectors import Projector

Entry = dict[str, Any]


def stored_about(subject: UUID) -> Iterator[Entry]:
    """Each value and where it was found: `{source, where, field, value}`.

    From the log come the events of the person's own streams, and the events that name the person as their `subject`.
    From a read model come the rows whose `subject_field` is the person.
    """
    for recorded in _events_about(subject):
        for field, value in recorded.data.items():
            yield _entry("log", f"{recorded.stream} {recorded.type} at position {recorded.position}", field, value)
    for model in apps.get_models():
        if column := getattr(model, "subject_field", None):
            yield from _rows(model, {column: subject}, [field.attname for field in model._meta.concrete_fields])
    yield from _rows(get_user_model(), {"username": str(subject)}, ["username", "date_joined", "last_login"])


def _events_about(subject: UUID) -> Iterator[RecordedEvent]:
    """By position, and each once: an event in a person's own stream may also name the person."""
    categories = {category for projector in Projector.registry.values() for category in projector.categories}
    histories = [store.read_stream(f"{category}-{subject}") for category in categories]
    naming = [kind for kind in DomainEvent.types.values() if kind.subject]
    histories += [store.read_all(types=[kind.type], naming=(kind.subject, str(subject))) for kind in naming]
    for _, same in groupby(merge(*histories, key=attrgetter("position")), attrgetter("position")):
        yield next(same)


def _rows(model: type[Model], where: dict[str, Any], fields: list[str]) -> Iterator[Entry]:
    for row in model._default_manager.filter(**where).order_by("pk"):
        for field in fields:
            yield _entry(model._meta.db_table, str(row.pk), field, getattr(row, field))


def _entry(source: str, where: str, field: str, value: Any) -> Entry:
    return {"source": source, "where": where, "field": field, "value": value}
