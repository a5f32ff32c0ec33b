"""Live delivery: bring a service's projectors up to the log, exactly once and never past the safe position."""

import time
from collections import defaultdict
from collections.abc import Sequence
from itertools import groupby
from operator import attrgetter
from threading import Lock
from typing import Self

from django.db import transaction
from django.db.utils import InterfaceError, OperationalError

from apps.eventlog import checkpoints, store
from apps.eventlog.events import RecordedEvent
from apps.eventlog.failpoints import failpoint
from apps.eventlog.models import Checkpoint, DeadLetter
from apps.eventlog.projectors import Projector, of_service

BATCH = 500
OPEN = (DeadLetter.Status.WAITING, DeadLetter.Status.FAILED)
PATIENCE = 1.0  # seconds to wait for a writer whose mark hides events that are committed already

_busy: defaultdict[str, Lock] = defaultdict(Lock)


def catch_up(service: str, batch: int = BATCH) -> None:
    """Project everything in the log to this service's rows.

    Where another thread or process is at it, this leaves it the work: whoever has projected looks
    again after its own commit, so no event waits for the next command.
    """
    deadline = time.monotonic() + PATIENCE
    while _pending(service):
        if not _busy[service].acquire(blocking=False):
            return
        try:
            progress = _step(service, batch)
        finally:
            _busy[service].release()
        if progress is None or (progress == 0 and time.monotonic() > deadline):
            return
        if progress:
            deadline = time.monotonic() + PATIENCE
        else:
            time.sleep(0.001)


def _pending(service: str) -> bool:
    """Is there a visible event that a projector of the service has yet to take?"""
    lowest = min(checkpoints.places(service).values(), default=None)
    categories = {category for projector in of_service(service) for category in projector.categories}
    return lowest is not None and store.find(category__in=categories, position__gt=lowest).exists()


def _step(service: str, batch: int) -> int | None:
    """Project one batch; returns how many events, or None where another process holds the checkpoints."""
    safe = store.safe_position()
    with transaction.atomic(using=service):
        free = checkpoints.checkpoint_model(service).objects.select_for_update(skip_locked=True)
        held = list(free.filter(name__in=[projector.name for projector in of_service(service)]).order_by("position"))
        if not held:
            return None
        seen = 0
        for position, group in groupby(held, key=attrgetter("position")):
            seen += _deliver(list(group), position, safe, batch)
        failpoint("projected")
    return seen


def _deliver(held: list[Checkpoint], position: int, safe: int, batch: int) -> int:
    """Hand the next events to the projectors that stand at one position, and move their checkpoints."""
    projectors = [Projector.registry[checkpoint.name]() for checkpoint in held]
    categories = {category for projector in projectors for category in projector.categories}
    events = list(store.read_all(after=position, limit=batch, until=safe, category=categories))
    if not events:
        return 0
    for checkpoint, projector in zip(held, projectors, strict=True):
        parking = Parking.live(projector)
        deliver(projector, [recorded for recorded in events if recorded.category in projector.categories], parking)
        parking.save()
        checkpoint.position = events[-1].position if len(events) == batch else safe
        checkpoint.save()
    return len(events)


class Parking:
    """The streams of which a projector has set events aside, and the letters it adds to them.

    `skipped` are the positions that an operator has ruled out.
    """

    def __init__(self, projector: Projector, streams: set[str], skipped: set[int]) -> None:
        self.projector, self.streams, self.skipped = projector, streams, skipped
        self.model = checkpoints.dead_letter_model(projector.service)
        self.letters: list[DeadLetter] = []

    @classmethod
    def live(cls, projector: Projector) -> Self:
        """As the dead letters of the projector say."""
        letters = checkpoints.dead_letter_model(projector.service).objects.filter(projector=projector.name)
        open_ = set(letters.filter(status__in=OPEN).values_list("stream", flat=True))
        return cls(projector, open_, cls.skips(projector))

    @classmethod
    def fresh(cls, projector: Projector) -> Self:
        """As at the beginning of a replay: nothing waits, but what was skipped stays so."""
        return cls(projector, set(), cls.skips(projector))

    @staticmethod
    def skips(projector: Projector) -> set[int]:
        letters = checkpoints.dead_letter_model(projector.service).objects
        skipped = letters.filter(projector=projector.name, status=DeadLetter.Status.SKIPPED)
        return set(skipped.values_list("position", flat=True))

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
        self.model.objects.bulk_create(self.letters)
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
