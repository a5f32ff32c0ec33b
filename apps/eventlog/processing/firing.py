"""Call processes when their timers are due: each timer once, and only when the process has taken every event before.

Like an event, a timer that ends the process again and again is set aside: each attempt is counted before it begins.
"""

from collections.abc import Callable, Sequence
from datetime import datetime

from django.db import InterfaceError, OperationalError, transaction
from django.db.models import F

from apps.eventlog import store
from apps.eventlog.delivery import claims
from apps.eventlog.delivery.checkpoints import Reached
from apps.eventlog.delivery.claims import LIMIT, Claim, ProcessEnded
from apps.eventlog.events import Place
from apps.eventlog.failpoints import failpoint
from apps.eventlog.models import Timer
from apps.eventlog.processes import Process
from apps.eventlog.processing import tables
from apps.eventlog.processing.changes import Changes
from apps.eventlog.processing.taking import set_aside

BATCH = 200


def fire_due(kind: type[Process], now: datetime, reached: Reached, stopped: Callable[[], bool]) -> None:
    """Fire the timers of a process that are due, while its checkpoint stands where it is said to be."""
    while not stopped() and (due := _due(kind, now)):
        if not _attempt(kind, due, reached):
            return


def _due(kind: type[Process], now: datetime) -> list[Timer]:
    """The timers to fire next, one for each key: the method of one may clear another.

    A timer that was begun before and not ended comes alone.
    """
    waiting = tables.timers().objects.filter(process=kind.name, at__lte=now).exclude(key__in=tables.parked(kind))
    first: dict[str, Timer] = {}
    for timer in waiting.order_by("at", "id")[:BATCH]:
        first.setdefault(timer.key, timer)
    due = list(first.values())
    return [timer for timer in due if timer.attempts][:1] or due


def _attempt(kind: type[Process], due: list[Timer], reached: Reached) -> bool:
    """Count an attempt at each timer, and fire them. Takes the attempts back if that raises, for this process lives.

    Returns False if another process has the checkpoint.
    """
    _count(due, 1)
    try:
        fired = _fire_together(kind, due, reached)
    except Exception:
        _count(due, -1)
        raise
    if not fired:
        _count(due, -1)
    return fired


def _count(due: Sequence[Timer], number: int) -> None:
    same = tables.timers().objects.filter(id__in=[timer.id for timer in due], attempts__gte=max(0, -number))
    same.update(attempts=F("attempts") + number)


def _fire_together(kind: type[Process], due: list[Timer], reached: Reached) -> bool:
    """Fire in one transaction; if something cannot be stored, one after another."""
    try:
        return _fire(kind, due, reached)
    except (OperationalError, InterfaceError):
        raise
    except Exception as error:
        if len(due) == 1:
            return _fire(kind, due, reached, error)
    return all(_fire_together(kind, [timer], reached) for timer in due)


def _fire(kind: type[Process], due: list[Timer], reached: Reached, error: Exception | None = None) -> bool:
    """Fire timers, or with an error set them aside, in one transaction; False if the checkpoint is not to be had."""
    with transaction.atomic(using=kind.service):
        if not claims.lock([Claim(kind.service, kind.name, reached, 0, 0)]):
            return False
        changes = Changes(kind, {timer.key for timer in due})
        for timer in _still_set(due):
            if failed := error or _failure(changes, timer):
                cause = store.event_at(timer.position)
                set_aside(kind, cause, failed, timer.attempts, key=timer.key, timer=timer.name, at=timer.at)
        changes.save()
        failpoint("fired")
    return True


def _still_set(due: list[Timer]) -> list[Timer]:
    """Take the timers out of the table; returns those that nobody has fired, moved or cleared meanwhile."""
    found = {timer.id: timer for timer in tables.timers().objects.filter(id__in=[timer.id for timer in due])}
    still = [found[timer.id] for timer in due if timer.id in found and found[timer.id].at == timer.at]
    tables.timers().objects.filter(id__in=[timer.id for timer in still]).delete()
    return still


def _failure(changes: Changes, timer: Timer) -> Exception | None:
    """Fire a timer; returns what its method raises, or that it has ended the process too often."""
    if timer.attempts > LIMIT:
        return ProcessEnded()
    try:
        changes.fire(timer.key, timer.name, timer.at, Place(timer.position, timer.event_id))
    except (OperationalError, InterfaceError):
        raise
    except Exception as error:
        return error
    return None
