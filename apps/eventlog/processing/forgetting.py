"""What processes keep about a person goes when they come to the event that erases the person.

A process comes to it after every event that the person's values could be in. So when it goes on, nothing can come back.
"""

from collections.abc import Iterator, Sequence
from typing import Any
from uuid import UUID

from django.db.models import Q, QuerySet

from apps.eventlog import store
from apps.eventlog.delivery import forgetting
from apps.eventlog.dispatch import command_named
from apps.eventlog.encryption.personal_fields import erases
from apps.eventlog.events import ERASED, DomainEvent, Payload, RecordedEvent, personal_fields
from apps.eventlog.models import OutgoingCommand
from apps.eventlog.privacy.traces import streams_of
from apps.eventlog.processes import Process
from apps.eventlog.processing import tables


def erasing_types() -> list[str]:
    """The types of the events that erase somebody."""
    return [name for name, kind in DomainEvent.types.items() if kind.erases]


def forget_erased(kind: type[Process], events: Sequence[RecordedEvent]) -> None:
    """For each of these events that erases a person, clear what a process keeps about the person.

    That is what it has marked as `Personal`: in the states of its instances that have met the person, and in the
    commands that they have sent or will send. It also clears the texts of dead letters. Called in the transaction that
    moves the checkpoint beyond the events.
    """
    for recorded in filter(erases, events):
        if subject := forgetting.erased_by(recorded):
            mine = Q(key__in=_keys(kind, subject))
            _clear_states(kind, tables.instances().objects.filter(mine, process=kind.name))
            _clear_commands(tables.commands().objects.filter(mine, process=kind.name))
            forgetting.clear_letters(subject, kind.service, also=mine & Q(projector=kind.name))


def _keys(kind: type[Process], subject: UUID) -> set[str]:
    """The keys of the instances that a person's events have led to."""
    return {str(subject), *(kind.key_of(recorded) for recorded in _taken(kind, subject))}


def _taken(kind: type[Process], subject: UUID) -> Iterator[RecordedEvent]:
    """The events about a person that the process takes."""
    for stream in streams_of(subject):
        yield from store.read_all(stream=stream, types=[known.type for known in kind.methods])
    for known in kind.methods:
        if known.subject:
            yield from store.read_all(types=[known.type], naming=(known.subject, str(subject)))


def _clear_states(kind: type[Process], rows: QuerySet[Any]) -> None:
    for row in rows if kind.personal else ():
        state = _cleared(row.state, kind.personal)
        if state != row.state:
            rows.model._default_manager.filter(pk=row.pk).update(state=state)


def _clear_commands(rows: QuerySet[OutgoingCommand]) -> None:
    for row in rows:
        error = f"{row.error.partition(':')[0]}: {ERASED}" if row.error else ""
        row.content, row.error = _cleared(row.content, _personal_fields(row)), error
        row.save(update_fields=["content", "error"])


def _personal_fields(row: OutgoingCommand) -> Sequence[str]:
    """Of a command that this code does not know, and so can never send, every field."""
    try:
        return personal_fields(command_named(row.command))
    except LookupError:
        return list(row.content)


def _cleared(content: Payload, fields: Sequence[str]) -> Payload:
    return content | {name: _erased(content[name]) for name in fields if name in content}


def _erased(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _erased(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_erased(each) for each in value]
    return ERASED if isinstance(value, str) and value else value
