"""Everything that is stored about one person: from the log, from every read model, and from their login."""

from collections.abc import Iterator
from typing import Any
from uuid import UUID

from django.apps import apps
from django.contrib.auth import get_user_model
from django.db.models import Model, Q

from apps.eventlog import store
from apps.eventlog.events import DomainEvent
from apps.eventlog.projectors import Projector

Entry = dict[str, Any]


def stored_about(subject: UUID) -> Iterator[Entry]:
    """Each value and where it was found: `{source, where, field, value}`.

    From the log come the events of the person's own streams, and the events that name the person as their `subject`.
    From a read model come the rows whose `subject_field` is the person.
    """
    for recorded in store.recorded(store.find().filter(_events_of(subject))):
        for field, value in recorded.data.items():
            yield _entry("log", f"{recorded.stream} {recorded.type} at position {recorded.position}", field, value)
    for model in apps.get_models():
        if column := getattr(model, "subject_field", None):
            yield from _rows(model, {column: subject}, [field.attname for field in model._meta.concrete_fields])
    yield from _rows(get_user_model(), {"username": str(subject)}, ["username", "date_joined", "last_login"])


def _events_of(subject: UUID) -> Q:
    categories = {category for projector in Projector.registry.values() for category in projector.categories}
    named = Q(stream__in=[f"{category}-{subject}" for category in categories])
    for kind in DomainEvent.types.values():
        if kind.subject:
            named |= Q(type=kind.type, **{f"data__{kind.subject}": str(subject)})
    return named


def _rows(model: type[Model], where: dict[str, Any], fields: list[str]) -> Iterator[Entry]:
    for row in model._default_manager.filter(**where).order_by("pk"):
        for field in fields:
            yield _entry(model._meta.db_table, str(row.pk), field, getattr(row, field))


def _entry(source: str, where: str, field: str, value: Any) -> Entry:
    return {"source": source, "where": where, "field": field, "value": value}
