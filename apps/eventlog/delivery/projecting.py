"""Bring a service's projectors up to the log, exactly once and never past the safe position."""

import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from itertools import groupby
from operator import attrgetter
from threading import Lock
from typing import NamedTuple

from django.db import InterfaceError, OperationalError, transaction

from apps.eventlog import store
from apps.eventlog.delivery import checkpoints, claims
from apps.eventlog.delivery.claims import Claim, claim
from apps.eventlog.delivery.dead_letters import dead_letters_of, deliver
from apps.eventlog.failpoints import failpoint
from apps.eventlog.projectors import Projector, of_service

BATCH = 500
PATIENCE = 0.25  # seconds to wait for a writer whose mark hides events that are committed already

_busy: defaultdict[str, Lock] = defaultdict(Lock)


def catch_up(
    service: str,
    batch: int = BATCH,
    stopped: Callable[[], bool] = lambda: False,
    lock_timeout: float | None = None,
) -> None:
    """Project everything in the log to this service's rows, or up to the batch in which `stopped` answers true.

    If another thread or process is projecting, this returns and leaves the work to it: every process that has
    projected looks at the log again after its own commit, so no event waits for the next command. Given
    `lock_timeout`, in seconds, raises `Locked` if other processes write to a SQLite database for longer, as a rebuild
    may.
    """
    deadline = time.monotonic() + PATIENCE
    while not stopped() and _busy[service].acquire(blocking=False):
        try:
            step = _step(service, batch, lock_timeout)
        finally:
            _busy[service].release()
        if step is None or not _more(service, step.lowest):
            return
        if step.events:
            deadline = time.monotonic() + PATIENCE
        while not step.events and store.safe_position() == step.safe:
            if time.monotonic() > deadline:
                return
            time.sleep(0.001)


def behind(service: str) -> bool:
    """Is there an event that a projector of the service has yet to take?"""
    return _more(service, checkpoints.lowest(service))


def _more(service: str, lowest: int) -> bool:
    return store.any_after(lowest, category=_categories(of_service(service)))


def _categories(kinds: Iterable[type[Projector]]) -> set[str]:
    return {category for kind in kinds for category in kind.categories}


class RowsAheadOfLog(Exception):
    """A checkpoint lies beyond the end of the log: the log was restored from an older backup. Rebuild the rows."""


class Step(NamedTuple):
    """What one step did: how many events it delivered, the lowest checkpoint it moved, and the safe position."""

    events: int
    lowest: int
    safe: int


def _step(service: str, batch: int, lock_timeout: float | None) -> Step | None:
    """Project one batch; None if other processes hold all checkpoints."""
    safe = store.safe_position()
    with claim(service, [kind.name for kind in of_service(service)], lock_timeout) as claimed:
        moved, events = _project_together(service, [each for each in claimed if not each.suspect], safe, batch)
        for suspect in [each for each in claimed if each.suspect]:
            alone, delivered = _project_one(suspect, safe, batch)
            moved, events = moved + alone, events + delivered
    return Step(events, min(each.position for each in moved), safe) if moved else None


def _project_together(service: str, claimed: list[Claim], safe: int, batch: int) -> tuple[list[Claim], int]:
    """The next batch for all projectors at once. If one fails, they begin again, each in a savepoint of its own.

    Returns the claims whose checkpoints moved, and the number of events.
    """
    try:
        return _project_batch(service, claimed, safe, batch, isolated=False)
    except (OperationalError, InterfaceError, RowsAheadOfLog):
        raise
    except Exception:
        return _project_batch(service, claimed, safe, batch, isolated=True)


def _project_batch(
    service: str, claimed: list[Claim], safe: int, batch: int, *, isolated: bool
) -> tuple[list[Claim], int]:
    """One transaction; projectors at the same position share the reading."""
    events = 0
    with transaction.atomic(using=service):
        locked = claims.lock(claimed)
        for position, group in groupby(locked, key=attrgetter("position")):
            events += _deliver_next(list(group), position, safe, batch, isolated=isolated)
        failpoint("projected")
    return locked, events


def _deliver_next(locked: list[Claim], position: int, safe: int, batch: int, *, isolated: bool) -> int:
    """Deliver the events after a position to the projectors that stand there; returns the number of events."""
    projectors = [Projector.registry[each.name]() for each in locked]
    events = store.read_page(after=position, end=safe, limit=batch, category=_categories(map(type, projectors)))
    if not events:
        if position > safe and position > store.last_position():
            raise RowsAheadOfLog(f"{locked[0].name} is at {position}, the log ends at {store.last_position()}")
        claims.advance(locked, max(position, safe))
        return 0
    for dead_letters in dead_letters_of(projectors):
        categories = dead_letters.projector.categories
        deliver([each for each in events if each.category in categories], dead_letters, isolated=isolated)
        dead_letters.save()
    claims.advance(locked, events[-1].position if len(events) == batch else safe)
    return len(events)


def _project_one(suspect: Claim, safe: int, batch: int) -> tuple[list[Claim], int]:
    """After an attempt that died, deliver one event and no other, so that each count of attempts is one event's own.

    An event that has ended the process too often is set aside without another attempt.
    """
    kind = Projector.registry[suspect.name]
    if not suspect.one_at_a_time:
        page = store.read_page(after=suspect.position, end=safe, limit=batch, category=kind.categories)
        suspect.deliver_one_at_a_time(until=page[-1].position if page else suspect.position)
    exhausted = suspect.exhausted(claims.GRACE)
    events = store.read_page(after=suspect.position, end=safe, limit=1, category=kind.categories)
    with transaction.atomic(using=kind.service):
        locked = claims.lock([suspect])
        if locked:
            [dead_letters] = dead_letters_of([kind()])
            if events and exhausted:
                dead_letters.add(events[0], claims.ProcessEnded(), claims.LIMIT)
            else:
                deliver(events, dead_letters)
            dead_letters.save()
            claims.advance(locked, events[-1].position if events else suspect.position)
    return locked, len(events)
