"""Bring a service's projectors up to the log, exactly once and never past the safe position.

Projectors that stand at the same place are projected together, from one page. But in a long backlog a worker claims one
projector at a time, so that another worker can take the others meanwhile.
"""

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable
from itertools import groupby
from operator import attrgetter
from threading import Lock
from typing import NamedTuple

from django.db import InterfaceError, OperationalError, connections, transaction

from apps.eventlog import store
from apps.eventlog.delivery import checkpoints, claims, identity
from apps.eventlog.delivery.checkpoints import Reached
from apps.eventlog.delivery.claims import Claim, claim
from apps.eventlog.delivery.dead_letters import dead_letters_of, deliver
from apps.eventlog.delivery.forgetting import forget_erased
from apps.eventlog.events import Place, RecordedEvent
from apps.eventlog.failpoints import failpoint
from apps.eventlog.log import places
from apps.eventlog.monitoring.deliveries import delivery
from apps.eventlog.projectors import Projector, of_service
from apps.eventlog.store import LogWentBack

BATCH = 500
PATIENCE = 0.25  # seconds to wait for a writer whose mark hides events that are committed already

taken: Counter[str] = Counter()  # how many events this process has delivered, by the name of the projector

_busy: defaultdict[str, Lock] = defaultdict(Lock)


def catch_up(
    service: str,
    batch: int = BATCH,
    stopped: Callable[[], bool] = lambda: False,
    lock_timeout: float | None = None,
    *,
    sharing: bool = False,
) -> bool:
    """Project everything in the log to this service's rows, or up to the batch in which `stopped` answers true.

    If another thread or process is projecting, this returns and leaves the work to it: every process that has
    projected looks at the log again after its own commit, so no event waits for the next command. Given
    `lock_timeout`, in seconds, raises `Locked` if other processes write to a SQLite database for longer, as a rebuild
    may. A projector whose place is not in the log stops and is reported (see `identity`); the others go on.

    With `sharing`, this leaves all projectors but one to others in a long backlog, except on SQLite, where only one can
    write. Returns False if others had all projectors.
    """
    deadline = time.monotonic() + PATIENCE
    while not stopped() and _busy[service].acquire(blocking=False):
        try:
            step = _step(service, [kind.name for kind in of_service(service)], batch, lock_timeout)
            if sharing and step and step.events >= batch and connections[service].vendor == "postgresql":
                while not stopped() and _step_of_one(service, batch):
                    pass
        finally:
            _busy[service].release()
        if step is None or not _more(service, step.lowest):
            return step is not None
        if step.events:
            deadline = time.monotonic() + PATIENCE
        while not step.events and store.safe_position() == step.safe:
            if time.monotonic() > deadline:
                return True
            time.sleep(0.001)
    return True


def behind(service: str) -> bool:
    """Is there something for a projector of the service to find: an event, or that the log went back?"""
    reached = checkpoints.of_projectors(service).values()
    lowest = min((each.position for each in reached), default=0)
    if any(each.place.unknown for each in reached):
        return True
    return any(places.look(lowest, {each.place for each in reached}, category=_categories(of_service(service))))


def _more(service: str, lowest: int) -> bool:
    return store.any_after(lowest, category=_categories(of_service(service)))


def _categories(kinds: Iterable[type[Projector]]) -> set[str]:
    return {category for kind in kinds for category in kind.categories}


class Step(NamedTuple):
    """What one step did: how many events it delivered, the lowest checkpoint it moved, and the safe position."""

    events: int
    lowest: int
    safe: int


def _step(service: str, names: list[str], batch: int, lock_timeout: float | None) -> Step | None:
    """Project one batch; None if other processes hold the checkpoints of all these projectors."""
    safe = store.safe_place()
    with claim(service, names, lock_timeout) as claimed:
        moved, events = _project_together(service, [each for each in claimed if not each.suspect], safe, batch)
        for suspect in [each for each in claimed if each.suspect]:
            found, delivered = _project_one(suspect, safe, batch)
            moved, events = moved + found, events + delivered
    return Step(events, min(each.position for each in moved), safe.position) if moved else None


def _step_of_one(service: str, batch: int) -> Step | None:
    """Project one batch for the projector that is furthest behind and that no other has; None if none waits."""
    known, safe = checkpoints.of_projectors(service), store.safe_position()
    for kind in sorted(of_service(service), key=lambda kind: known[kind.name].position):
        waits = store.any_after(known[kind.name].position, until=safe, category=kind.categories)
        if waits and (step := _step(service, [kind.name], batch, None)):
            return step
    return None


def _project_together(service: str, claimed: list[Claim], safe: Place, batch: int) -> tuple[list[Claim], int]:
    """The next batch for all projectors at once. If one fails, they begin again, each in a savepoint of its own.

    Returns the claims whose checkpoints moved, and the number of events.
    """
    done = _project_at_once(service, claimed, safe, batch)
    return done or _project_batch(service, claimed, safe, batch, isolated=True)


def _project_at_once(service: str, claimed: list[Claim], safe: Place, batch: int) -> tuple[list[Claim], int] | None:
    """None if a projector fails. Its error shows in no traceback of those that come when they begin again."""
    try:
        return _project_batch(service, claimed, safe, batch, isolated=False)
    except (OperationalError, InterfaceError):
        raise
    except Exception:
        return None


def _project_batch(
    service: str, claimed: list[Claim], safe: Place, batch: int, *, isolated: bool
) -> tuple[list[Claim], int]:
    """One transaction; projectors at the same place share the reading."""
    moved: list[Claim] = []
    stopped: list[tuple[list[Claim], LogWentBack]] = []
    events = 0
    with transaction.atomic(using=service):
        for reached, together in groupby(claims.lock(claimed), key=attrgetter("reached")):
            group = list(together)
            try:
                events += _deliver_next(group, reached, safe, batch, isolated=isolated)
                moved += group
            except LogWentBack as error:  # before anything is written
                stopped.append((group, error))
        failpoint("projected")
    for each, reason in stopped:
        _stop(each, reason)
    return moved, events


def _stop(group: list[Claim], error: LogWentBack) -> None:
    claims.release(group)
    for each in group:
        identity.report(each.service, each.name, each.position, error)


def _deliver_next(locked: list[Claim], reached: Reached, safe: Place, batch: int, *, isolated: bool) -> int:
    """Deliver what follows a checkpoint to the projectors that stand there; returns the number of events."""
    projectors = [Projector.registry[each.name]() for each in locked]
    place, events = _read_on(reached, safe, batch, _categories(map(type, projectors)))
    if not events:
        claims.advance(locked, max(place, safe, key=attrgetter("position")))
        return 0
    with delivery(locked[0].service, [each.name for each in locked], (each.metadata for each in events)):
        for dead_letters in dead_letters_of(projectors):
            categories = dead_letters.projector.categories
            mine = [each for each in events if each.category in categories]
            deliver(mine, dead_letters, isolated=isolated)
            dead_letters.save()
            taken[dead_letters.projector.name] += len(mine)
    forget_erased(projectors[0].service, events)
    claims.advance(locked, events[-1].place if len(events) == batch else safe)
    return len(events)


def _read_on(
    reached: Reached, safe: Place, limit: int, categories: Collection[str]
) -> tuple[Place, list[RecordedEvent]]:
    """The place of a checkpoint, and the next events of these categories. Raises `LogWentBack`."""
    place = checkpoints.known_again(reached)
    return place, store.read_page(after=place, end=safe.position, limit=limit, category=categories)


def _project_one(suspect: Claim, safe: Place, batch: int) -> tuple[list[Claim], int]:
    """See `_project_suspect`. If another process has the claim, leave it; if the log lost the place, report that."""
    if suspect.attempts > 1 and not suspect.abandoned():
        claims.release([suspect])  # to the process that has it
        return [], 0
    try:
        return _project_suspect(suspect, safe, batch)
    except LogWentBack as error:
        _stop([suspect], error)
        return [], 0


def _project_suspect(suspect: Claim, safe: Place, batch: int) -> tuple[list[Claim], int]:
    """After an attempt that died, deliver one event and no other, so that each count of attempts is one event's own.

    An event that has ended the process too often is set aside without another attempt.
    """
    kind = Projector.registry[suspect.name]
    if not suspect.one_at_a_time:
        _, page = _read_on(suspect.reached, safe, batch, kind.categories)
        suspect.deliver_one_at_a_time(until=page[-1].position if page else suspect.position)
    exhausted = suspect.exhausted(claims.GRACE)
    place, events = _read_on(suspect.reached, safe, 1, kind.categories)
    with transaction.atomic(using=kind.service):
        locked = claims.lock([suspect])
        if locked:
            [dead_letters] = dead_letters_of([kind()])
            if events and exhausted:
                dead_letters.add(events[0], claims.ProcessEnded(), claims.LIMIT)
            else:
                with delivery(kind.service, [kind.name], (each.metadata for each in events)):
                    deliver(events, dead_letters)
            dead_letters.save()
            forget_erased(kind.service, events)
            claims.advance(locked, events[-1].place if events else place)
            taken[kind.name] += len(events)
    return locked, len(events)
