"""What an operator does about dead letters, of any reader: retry those of a stream, or skip one with a reason.

Dead letters of a process wait for each other by the key and not by the stream: an instance may follow several streams.
"""

from django.db import transaction
from django.utils import timezone

from apps.eventlog import store
from apps.eventlog.delivery import retry as letters
from apps.eventlog.delivery.dead_letters import OPEN, open_dead_letters
from apps.eventlog.events import DomainEvent, Place
from apps.eventlog.models import DeadLetter, OutgoingCommand
from apps.eventlog.processes import Process
from apps.eventlog.processing import tables
from apps.eventlog.processing.changes import Changes
from apps.eventlog.processing.forgetting import forget_erased
from apps.eventlog.projectors import Projector
from apps.eventlog.reactors import Reactor

Reader = type[Projector] | type[Reactor] | type[Process]


def readers() -> dict[str, Reader]:
    """Every projector, reactor and process, by name."""
    return {**Projector.registry, **Reactor.registry, **Process.registry}


def retry(kind: Reader, stream: str, *, by: str) -> tuple[int, str]:
    """See `delivery.retry.retry`. For a process, what waits for the same keys is delivered too."""
    if not issubclass(kind, Process):
        return letters.retry(kind, stream, by=by)
    mine = tables.dead_letters().objects.filter(projector=kind.name, stream=stream)
    keys = mine.order_by().values("key")
    waiting = tables.dead_letters().objects.filter(projector=kind.name, status__in=OPEN, key__in=keys)
    return letters.retry(kind, stream, by=by, waiting=waiting.order_by("position", "id"), deliver=_deliver)


def skip(kind: Reader, position: int, *, by: str, reason: str) -> bool:
    """See `delivery.retry.skip`. If a process skips a command, the later ones of its key go out."""
    if not issubclass(kind, Process):
        return letters.skip(kind, position, by=by, reason=reason)
    with transaction.atomic(using=kind.service):
        first = open_dead_letters(kind.service).filter(projector=kind.name, position=position).first()
        if first is not None and first.command_id:  # type: ignore[attr-defined]
            _put(first, OutgoingCommand.Status.SKIPPED)
        return letters.skip(kind, position, by=by, reason=reason)


def _deliver(kind: type[Process], letter: DeadLetter) -> Exception | None:
    """Let the process have an event or a timer again, or put a command back; returns the error if that fails."""
    try:
        if letter.command_id:  # type: ignore[attr-defined]
            _put(letter, OutgoingCommand.Status.WAITING)
        else:
            with transaction.atomic(using=kind.service):
                _take_again(kind, letter)
    except Exception as error:
        return error
    return None


def _take_again(kind: type[Process], letter: DeadLetter) -> None:
    key, timer, at = letter.key, letter.timer, letter.at  # type: ignore[attr-defined]
    recorded = store.event_at(letter.position)
    if recorded.event_id != letter.event_id:
        raise store.LogWentBack(Place(letter.position, letter.event_id), recorded.event_id)
    changes = Changes(kind, [key])
    if timer:
        changes.fire(key, timer, at, recorded.place)
    elif DomainEvent.types[recorded.type] in kind.methods:
        changes.take(recorded)
    changes.save()
    forget_erased(kind, [recorded])


def _put(letter: DeadLetter, status: OutgoingCommand.Status) -> None:
    command = tables.commands().objects.filter(command_id=letter.command_id)  # type: ignore[attr-defined]
    command.update(status=status, attempts=0, try_at=timezone.now(), error="")
