"""Live delivery: bring a service's projectors up to the log, exactly once and never past the safe position."""

import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import groupby
from operator import attrgetter
from threading import Lock
from typing import NamedTuple

from django.db import transaction
from django.db.utils import InterfaceError, OperationalError
from django.utils import timezone

from apps.eventlog import checkpoints, store
from apps.eventlog.events import RecordedEvent
from apps.eventlog.failpoints import failpoint
from apps.eventlog.models import Checkpoint, DeadLetter
from apps.eventlog.projectors import Projector, of_service

BATCH = 500
OPEN = (DeadLetter.Status.WAITING, DeadLetter.Status.FAILED)
PATIENCE = 0.25  # seconds to wait for a writer whose mark hides events that are committed already

_busy: defaultdict[str, Lock] = defaultdict(Lock)


def catch_up(service: str, batch: int = BATCH) -> None:
    """Project everything in the log to this service's rows.

    Where another thread or process is at it, this leaves it the work: whoever has projected looks
    again after its own commit, so no event waits for the next command.
    """
    deadline = time.monotonic() + PATIENCE
    while _busy[service].acquire(blocking=False):
        try:
            step = _step(service, batch)
        finally:
            _busy[service].release()
        if step is None or not _more(service, step.lowest):
            return
        if step.events:
            deadline = time.monotonic() + PATIENCE
        elif time.monotonic() > deadline:
            return
        else:
            time.sleep(0.001)


def behind(service: str) -> bool:
    """Is there an event that a projector of the service has yet to take?"""
    return _more(service, min(checkpoints.places(service).values(), default=0))


def _more(service: str, lowest: int) -> bool:
    return store.find(category__in=_categories(of_service(service)), position__gt=lowest).exists()


def _categories(kinds: Iterable[type[Projector]]) -> set[str]:
    return {category for kind in kinds for category in kind.categories}


class RowsAheadOfLog(Exception):
    """A checkpoint lies beyond the end of the log: the log was restored from an older backup. Rebuild the rows."""


class Step(NamedTuple):
    """What one step did: how many events it took in, and how far the hindmost projector is."""

    events: int
    lowest: int


def _step(service: str, batch: int) -> Step | None:
    """Project one batch; None where another process holds the checkpoints."""
    names = [projector.name for projector in of_service(service)]
    safe = store.safe_position()
    with transaction.atomic(using=service):
        free = checkpoints.checkpoint_model(service).objects.select_for_update(skip_locked=True)
        held = list(free.filter(name__in=names).order_by("position"))
        if len(held) < len(names) and checkpoints.enter(service):
            return Step(0, 0)
        events = 0
        for position, group in groupby(held, key=attrgetter("position")):
            events += _deliver(service, list(group), position, safe, batch)
        failpoint("projected")
    return Step(events, min(row.position for row in held)) if held else None


def _deliver(service: str, held: list[Checkpoint], position: int, safe: int, batch: int) -> int:
    """Hand the next events to the projectors that stand at one position, and move their checkpoints."""
    projectors = [Projector.registry[checkpoint.name]() for checkpoint in held]
    categories = _categories(type(projector) for projector in projectors)
    events = store.read_page(after=position, end=safe, limit=batch, category=categories)
    if not events:
        if position > safe and position > store.last_position():
            raise RowsAheadOfLog(f"{held[0].name} is at {position}, the log ends at {store.last_position()}")
        return 0
    letters = Letters(service)
    reached = events[-1].position if len(events) == batch else safe
    for projector in projectors:
        parking = letters.parking(projector)
        deliver(projector, [recorded for recorded in events if recorded.category in projector.categories], parking)
        parking.save()
    for checkpoint in held:
        checkpoint.position = reached
    moved = checkpoints.checkpoint_model(service).objects.filter(name__in=[checkpoint.name for checkpoint in held])
    moved.update(position=reached, updated_at=timezone.now())
    return len(events)


class Letters:
    """The dead letters of a service that bear on what may be projected: those waiting, and those skipped."""

    def __init__(self, service: str) -> None:
        relevant = checkpoints.dead_letter_model(service).objects.filter(status__in=[*OPEN, DeadLetter.Status.SKIPPED])
        self.rows = list(relevant.values_list("projector", "stream", "position", "status"))

    def parking(self, projector: Projector, *, replay: bool = False) -> "Parking":
        """Where the projector sets events aside; in a replay nothing waits yet, but what was skipped stays so."""
        mine = [row for row in self.rows if row[0] == projector.name]
        streams = {stream for _, stream, _, status in mine if status in OPEN and not replay}
        skipped = {position for _, _, position, status in mine if status == DeadLetter.Status.SKIPPED}
        return Parking(projector, streams, skipped)


class Parking:
    """The streams of which a projector has set events aside, and the letters it adds to them.

    `skipped` are the positions that an operator has ruled out.
    """

    def __init__(self, projector: Projector, streams: set[str], skipped: set[int]) -> None:
        self.projector, self.streams, self.skipped = projector, streams, skipped
        self.model = checkpoints.dead_letter_model(projector.service)
        self.letters: list[DeadLetter] = []

    def park(self, recorded: RecordedEvent, error: Exception | None = None) -> None:
        """Set an event aside: as failed with its error, or waiting behind a failed one of its stream."""
        self.streams.add(recorded.stream)
        self.letters.append(
            self.model(
                projector=self.projector.name,
                stream=recorded.stream,
                position=recorded.position,
                status=DeadLetter.Status.FAILED if error else DeadLetter.Status.WAITING,
                attempts=1 if error else 0,
                error=f"{type(error).__name__}: {error}" if error else "",
            )
        )

    def save(self) -> None:
        """Enter the letters; one that was retried well before and fails again is open again."""
        self.model.objects.bulk_create(
            self.letters,
            update_conflicts=True,
            unique_fields=["projector", "position"],
            update_fields=["status", "attempts", "error", "settled_at", "settled_by"],
        )
        self.letters = []


def deliver(projector: Projector, events: Sequence[RecordedEvent], parking: Parking) -> None:
    """Project events in the open transaction; what cannot be projected is parked, stream by stream.

    A database that fails is not the event's fault: `OperationalError` passes through.
    """
    events = [recorded for recorded in events if recorded.position not in parking.skipped]
    free = [recorded for recorded in events if recorded.stream not in parking.streams]
    try:
        if free:
            with transaction.atomic(using=projector.service):
                projector.project(free)
    except (OperationalError, InterfaceError):
        raise
    except Exception:
        _deliver_singly(projector, events, parking)
    else:
        for recorded in events:
            if recorded.stream in parking.streams:
                parking.park(recorded)


def _deliver_singly(projector: Projector, events: Sequence[RecordedEvent], parking: Parking) -> None:
    for recorded in events:
        if recorded.stream in parking.streams:
            parking.park(recorded)
            continue
        try:
            with transaction.atomic(using=projector.service):
                projector.project([recorded])
        except (OperationalError, InterfaceError):
            raise
        except Exception as error:
            parking.park(recorded, error)
