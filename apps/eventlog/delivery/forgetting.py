"""What the records of failures say about a person goes when a service meets the event that erases the person."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from django.db.models import Q

from apps.eventlog import store
from apps.eventlog.delivery import checkpoints
from apps.eventlog.encryption.personal_fields import erases, subject_of
from apps.eventlog.events import ERASED, DomainEvent, InvalidEvent, RecordedEvent
from apps.eventlog.models import DeadLetter
from apps.eventlog.projectors import categories

TOLD = ("reason", "outcome")  # of an act of an operator


def forget_erased(service: str, events: Sequence[RecordedEvent]) -> None:
    """For each of these events that erases a person, clear the texts of the service's dead letters about the person.

    They stay as they are otherwise: an open one still holds up its stream. Called in the transaction that moves the
    checkpoints beyond the events.
    """
    for recorded in events:
        if erases(recorded) and (subject := erased_by(recorded)):
            clear_letters(subject, service)


def clear_letters(subject: UUID, service: str, also: Q | None = None) -> None:
    """Clear the texts of a service's dead letters about a person, and of those that `also` finds."""
    for letter in _about(subject, checkpoints.dead_letter_model(service), also):
        _clear(letter)


def erased_by(recorded: RecordedEvent) -> UUID | None:
    """Whom an event erases; None if it names nobody."""
    try:
        return subject_of(recorded.stream, DomainEvent.types[recorded.type], recorded.data)
    except InvalidEvent:
        return None


def _about(subject: UUID, letters: type[DeadLetter], also: Q | None = None) -> list[DeadLetter]:
    """The dead letters of the person's own streams, and of events that name the person as their `subject`."""
    if not letters.objects.exists():
        return []  # as nearly always, and events that name somebody are found by reading all of their type
    streams = [f"{category}-{subject}" for category in categories()]
    naming = [kind for kind in DomainEvent.types.values() if kind.subject]
    positions = [
        recorded.position
        for kind in naming
        for recorded in store.read_all(types=[kind.type], naming=(kind.subject, str(subject)))
    ]
    return list(letters.objects.filter(Q(stream__in=streams) | Q(position__in=positions) | (also or Q(pk=None))))


def _clear(letter: DeadLetter) -> None:
    letter.error = f"{letter.error.partition(':')[0]}: {ERASED}" if letter.error else ""
    letter.reason = ERASED if letter.reason else ""
    letter.acts = [{name: _cleared(name, text) for name, text in act.items()} for act in letter.acts]
    letter.save(update_fields=["error", "reason", "acts"])


def _cleared(name: str, text: Any) -> Any:
    return ERASED if name in TOLD else text
