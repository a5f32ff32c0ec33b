"""What an operator does about events that were set aside: retry them, or skip one with a reason."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from apps.eventlog import checkpoints, delivery, store
from apps.eventlog.delivery import OPEN
from apps.eventlog.events import RecordedEvent
from apps.eventlog.models import DeadLetter
from apps.eventlog.projectors import Projector
from apps.eventlog.reactors import Reactor

Reader = type[Projector] | type[Reactor]


def open_letters(service: str) -> QuerySet[DeadLetter]:
    """What is set aside now, by projector and position."""
    return checkpoints.dead_letter_model(service).objects.filter(status__in=OPEN).order_by("projector", "position")


def retry(kind: Reader, stream: str, *, by: str) -> tuple[int, str]:
    """Take in what waits of a stream, in order, up to the first that fails again.

    Returns how many events were taken in, and the error that stopped it or "".
    """
    done = 0
    with _held(kind) if issubclass(kind, Projector) else nullcontext():
        for letter in open_letters(kind.service).filter(projector=kind.name, stream=stream).order_by("position"):
            letter.attempts += 1
            letter.status = DeadLetter.Status.FAILED
            letter.save()
            [recorded] = store.recorded(store.find(position=letter.position))
            try:
                _take_in(kind, recorded)
            except Exception as error:
                letter.error = f"{type(error).__name__}: {error}"
                letter.save()
                return done, letter.error
            _settle(letter, DeadLetter.Status.RETRIED, by, "")
            done += 1
    return done, ""


def skip(kind: Reader, position: int, *, by: str, reason: str) -> bool:
    """Leave a failed event out of the rows, now and in every replay; False where none waits there.

    The later events of its stream wait for a `retry`.
    """
    with _held(kind) if issubclass(kind, Projector) else nullcontext():
        letter = open_letters(kind.service).filter(projector=kind.name, position=position).first()
        if letter is not None:
            _settle(letter, DeadLetter.Status.SKIPPED, by, reason)
        return letter is not None


def _take_in(kind: Reader, recorded: RecordedEvent) -> None:
    if issubclass(kind, Reactor):
        kind().react(recorded)
        return
    with transaction.atomic(using=kind.service):
        kind().project([recorded])


def _settle(letter: DeadLetter, status: DeadLetter.Status, by: str, reason: str) -> None:
    letter.status, letter.settled_at, letter.settled_by, letter.reason = status, timezone.now(), by, reason
    letter.save()


@contextmanager
def _held(kind: type[Projector]) -> Iterator[None]:
    """Hold the projector's checkpoint, so that live delivery does not write the same rows."""
    checkpoints.enter(kind.service)
    with transaction.atomic(using=kind.service):
        checkpoints.checkpoint_model(kind.service).objects.select_for_update().get(name=kind.name)
        yield
    delivery.catch_up(kind.service)  # requests that found the checkpoint held have left it this
