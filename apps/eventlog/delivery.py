"""Live delivery: bring a service's projectors up to the log, exactly once and never past the safe position."""

import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from itertools import groupby
from operator import attrgetter
from threading import Lock
from typing import NamedTuple

from django.db import InterfaceError, OperationalError, transaction

from apps.eventlog import attempts, checkpoints, store
from apps.eventlog.attempts import Attempt, Held
from apps.eventlog.failpoints import failpoint
from apps.eventlog.parking import Letters, deliver
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
    """Project everything in the log to this service's rows, or up to the batch in which `stopped` says so.

    Where another thread or process is at it, this leaves it the work: whoever has projected looks
    again after its own commit, so no event waits for the next command. Given `lock_timeout`, in seconds, raises
    `attempts.Locked` where others write to the database for longer, as a rebuild may on SQLite.
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
    return _more(service, min(checkpoints.places(service).values(), default=0))


def _more(service: str, lowest: int) -> bool:
    return store.any_after(lowest, category=_categories(of_service(service)))


def _categories(kinds: Iterable[type[Projector]]) -> set[str]:
    return {category for kind in kinds for category in kind.categories}


class RowsAheadOfLog(Exception):
    """A checkpoint lies beyond the end of the log: the log was restored from an older backup. Rebuild the rows."""


class Step(NamedTuple):
    """What one step did: how many events it took in, how far the hindmost projector is, and how far it could look."""

    events: int
    lowest: int
    safe: int


def _step(service: str, batch: int, lock_timeout: float | None) -> Step | None:
    """Project one batch; None where another process holds the checkpoints."""
    safe = store.safe_position()
    names = [kind.name for kind in of_service(service)]
    begun = attempts.begin(service, names, lock_timeout)
    try:
        if len(begun) < len(names) and checkpoints.enter(service):
            attempts.withdraw(service, begun)
            begun = attempts.begin(service, names)
        held, events = _together(service, [one for one in begun if not one.doubtful], safe, batch)
        for doubtful in [one for one in begun if one.doubtful]:
            alone, taken = _singly(service, doubtful, safe, batch)
            held, events = held + alone, events + taken
    except Exception:
        attempts.withdraw(service, begun)
        raise
    return Step(events, min(checkpoint.position for checkpoint in held), safe) if held else None


def _together(service: str, begun: list[Attempt], safe: int, batch: int) -> tuple[list[Held], int]:
    """The next batch for all projectors at once. Where one fails, they begin again, each in a savepoint of its own.

    Returns the checkpoints that it moved, and the number of events.
    """
    try:
        return _batch(service, begun, safe, batch, apart=False)
    except (OperationalError, InterfaceError, RowsAheadOfLog):
        raise
    except Exception:
        return _batch(service, begun, safe, batch, apart=True)


def _batch(service: str, begun: list[Attempt], safe: int, batch: int, *, apart: bool) -> tuple[list[Held], int]:
    """One transaction; projectors that stand at one position share the reading."""
    events = 0
    with transaction.atomic(using=service):
        held = attempts.hold(service, begun)
        for position, group in groupby(held, key=attrgetter("position")):
            events += _deliver(service, list(group), position, safe, batch, apart=apart)
        failpoint("projected")
    return held, events


def _deliver(service: str, held: list[Held], position: int, safe: int, batch: int, *, apart: bool) -> int:
    """Hand the next events to the projectors that stand at one position, and move their checkpoints."""
    projectors = [Projector.registry[checkpoint.name]() for checkpoint in held]
    categories = _categories(type(projector) for projector in projectors)
    events = store.read_page(after=position, end=safe, limit=batch, category=categories)
    if not events:
        if position > safe and position > store.last_position():
            raise RowsAheadOfLog(f"{held[0].name} is at {position}, the log ends at {store.last_position()}")
        attempts.end(service, held, max(position, safe))
        return 0
    letters = Letters(service)
    for projector in projectors:
        parking = letters.parking(projector)
        mine = [recorded for recorded in events if recorded.category in projector.categories]
        deliver(projector, mine, parking, apart=apart)
        parking.save()
    attempts.end(service, held, events[-1].position if len(events) == batch else safe)
    return len(events)


def _singly(service: str, begun: Attempt, safe: int, batch: int) -> tuple[list[Held], int]:
    """After an attempt that did not end: one event, and no other, so that the count is that event's own.

    One that has been tried often enough is set aside without another try.
    """
    kind = Projector.registry[begun.name]
    if not begun.singly:
        page = store.read_page(after=begun.position, end=safe, limit=batch, category=kind.categories)
        begun = attempts.go_singly(service, begun, page[-1].position if page else begun.position)
    hopeless = attempts.hopeless(service, begun)
    events = store.read_page(after=begun.position, end=safe, limit=1, category=kind.categories)
    with transaction.atomic(using=service):
        held = attempts.hold(service, [begun])
        if held:
            parking = Letters(service).parking(kind())
            if events and hopeless:
                parking.park(events[0], attempts.ProcessEnded(), attempts.LIMIT)
            else:
                deliver(parking.projector, events, parking)
            parking.save()
            attempts.end(service, held, events[-1].position if events else begun.position)
    return held, len(events)
