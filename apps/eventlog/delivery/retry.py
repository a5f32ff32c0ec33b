"""What an operator does about dead letters: retry those of a stream, or skip one with a reason."""

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import transaction
from django.utils import timezone

from apps.eventlog import store
from apps.eventlog.delivery import checkpoints, projecting
from apps.eventlog.delivery.dead_letters import open_dead_letters
from apps.eventlog.events import Place
from apps.eventlog.models import DeadLetter
from apps.eventlog.projectors import Projector
from apps.eventlog.reactors import Reactor

Reader = type[Projector] | type[Reactor]


def retry(kind: Reader, stream: str, *, by: str) -> tuple[int, str]:
    """Take in what waits of a stream, in order, up to the first that fails again.

    Each try is on record before it begins. Returns how many events were taken in, and the error
    that stopped it or "".
    """
    waiting = open_dead_letters(kind.service).filter(projector=kind.name, stream=stream).order_by("position")
    done = 0
    while letter := waiting.first():
        letter.attempts += 1
        letter.status = DeadLetter.Status.FAILED
        _act(letter, by, act="retry")
        with _held(kind):
            if not waiting.filter(pk=letter.pk).exists():
                continue  # somebody else has settled it meanwhile
            error = _take_in(kind, letter)
            if error:
                letter.error = error
                _came_of(letter, error)
                break
            _settle(letter, DeadLetter.Status.RETRIED, by, "")
            _came_of(letter, "taken in")
            done += 1
    _leave(kind)
    return done, letter.error if letter else ""


def skip(kind: Reader, position: int, *, by: str, reason: str) -> bool:
    """Leave a failed event out of the rows, now and in every replay; False where none waits there.

    The later events of its stream wait for a `retry`.
    """
    with _held(kind):
        letter = open_dead_letters(kind.service).filter(projector=kind.name, position=position).first()
        if letter is not None:
            _settle(letter, DeadLetter.Status.SKIPPED, by, reason)
            _act(letter, by, act="skip", reason=reason)
    _leave(kind)
    return letter is not None


def _take_in(kind: Reader, letter: DeadLetter) -> str:
    """Let the reader have the event; returns its error or ""."""
    try:
        recorded = store.event_at(letter.position)
        if letter.event_id not in (None, recorded.event_id):
            raise store.LogWentBack(Place(letter.position, letter.event_id), recorded.event_id)
        if issubclass(kind, Reactor):
            kind().react(recorded)
        else:
            with transaction.atomic(using=kind.service):
                kind().project([recorded])
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""


def _act(letter: DeadLetter, by: str, **act: str) -> None:
    """Enter in the letter's record what somebody does, and when."""
    letter.acts.append({**act, "by": by, "at": timezone.now().isoformat()})
    letter.save()


def _came_of(letter: DeadLetter, outcome: str) -> None:
    letter.acts[-1]["outcome"] = outcome
    letter.save()


def _settle(letter: DeadLetter, status: DeadLetter.Status, by: str, reason: str) -> None:
    letter.status, letter.settled_at, letter.settled_by, letter.reason = status, timezone.now(), by, reason


@contextmanager
def _held(kind: Reader) -> Iterator[None]:
    """Hold a projector's checkpoint, so that live delivery does not write the same rows; a reactor has none to hold."""
    if issubclass(kind, Reactor):
        yield
        return
    checkpoints.enter(kind.service)
    with transaction.atomic(using=kind.service):
        checkpoints.checkpoint_model(kind.service).objects.select_for_update().get(name=kind.name)
        yield


def _leave(kind: Reader) -> None:
    """Do what requests have left undone that found the checkpoint held."""
    if issubclass(kind, Projector):
        projecting.catch_up(kind.service)
