"""What an operator does about dead letters: retry those of a stream, or skip one with a reason."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from apps.eventlog import store
from apps.eventlog.delivery import checkpoints, projecting
from apps.eventlog.delivery.dead_letters import open_dead_letters
from apps.eventlog.events import Place
from apps.eventlog.models import DeadLetter
from apps.eventlog.projectors import Projector
from apps.eventlog.reactors import Reactor


def retry(
    kind: Any,
    stream: str,
    *,
    by: str,
    waiting: QuerySet[Any] | None = None,
    deliver: Callable[[Any, DeadLetter], str] | None = None,
) -> tuple[int, str]:
    """Deliver the dead letters of a stream in order, up to the first that fails again.

    Each attempt is recorded before it begins. Returns how many events were delivered, and the error that ended the
    retry, or "". `waiting` are the dead letters, if not those of the stream, and `deliver` does it in another way.
    """
    if waiting is None:
        waiting = open_dead_letters(kind.service).filter(projector=kind.name, stream=stream).order_by("position")
    deliver, done = deliver or _deliver, 0
    while dead_letter := waiting.first():
        dead_letter.attempts += 1
        dead_letter.status = DeadLetter.Status.FAILED
        _act(dead_letter, by, act="retry")
        with _checkpoint_locked(kind):
            if not waiting.filter(pk=dead_letter.pk).exists():
                continue  # somebody else has settled it meanwhile
            error = deliver(kind, dead_letter)
            if error:
                dead_letter.error = error
                _record_outcome(dead_letter, error)
                break
            _settle(dead_letter, DeadLetter.Status.RETRIED, by, "")
            _record_outcome(dead_letter, "taken in")
            done += 1
    _catch_up(kind)
    return done, dead_letter.error if dead_letter else ""


def skip(kind: Any, position: int, *, by: str, reason: str) -> bool:
    """Leave a failed event out of the rows, now and in every replay. Returns False if no dead letter is open there.

    The later events of its stream stay dead letters until a `retry`.
    """
    with _checkpoint_locked(kind):
        dead_letter = open_dead_letters(kind.service).filter(projector=kind.name, position=position).first()
        if dead_letter is not None:
            _settle(dead_letter, DeadLetter.Status.SKIPPED, by, reason)
            _act(dead_letter, by, act="skip", reason=reason)
    _catch_up(kind)
    return dead_letter is not None


def _deliver(kind: Any, dead_letter: DeadLetter) -> str:
    """Let the reader have the event; returns its error or ""."""
    try:
        recorded = store.event_at(dead_letter.position)
        if dead_letter.event_id not in (None, recorded.event_id):
            raise store.LogWentBack(Place(dead_letter.position, dead_letter.event_id), recorded.event_id)
        if issubclass(kind, Reactor):
            kind().react(recorded)
        else:
            with transaction.atomic(using=kind.service):
                kind().project([recorded])
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""


def _act(dead_letter: DeadLetter, by: str, **act: str) -> None:
    """Record on the dead letter what somebody does, and when."""
    dead_letter.acts.append({**act, "by": by, "at": timezone.now().isoformat()})
    dead_letter.save()


def _record_outcome(dead_letter: DeadLetter, outcome: str) -> None:
    dead_letter.acts[-1]["outcome"] = outcome
    dead_letter.save()


def _settle(dead_letter: DeadLetter, status: DeadLetter.Status, by: str, reason: str) -> None:
    dead_letter.status, dead_letter.settled_at, dead_letter.settled_by, dead_letter.reason = (
        status,
        timezone.now(),
        by,
        reason,
    )


@contextmanager
def _checkpoint_locked(kind: Any) -> Iterator[None]:
    """Lock the checkpoint of a projector, so that live delivery does not write the same rows. A reactor locks none."""
    if issubclass(kind, Reactor):
        yield
        return
    checkpoints.enter(kind.service)
    with transaction.atomic(using=kind.service):
        checkpoints.checkpoint_model(kind.service).objects.select_for_update().get(name=kind.name)
        yield


def _catch_up(kind: Any) -> None:
    """Project the events of requests that found the checkpoint locked and left their events to others."""
    if issubclass(kind, Projector):
        projecting.catch_up(kind.service)
