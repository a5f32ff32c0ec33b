"""Rebuild read models from the log while the live ones serve, then switch."""

import fcntl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import Any
from uuid import UUID

from django.db import connections, transaction
from django.db.utils import InterfaceError, OperationalError

from apps.eventlog import bulk, checkpoints, store
from apps.eventlog.delivery import OPEN, Parking, deliver
from apps.eventlog.events import RecordedEvent
from apps.eventlog.failpoints import failpoint
from apps.eventlog.projectors import Projector, RowProjector
from apps.eventlog.shadow import Shadow

BATCH = 1000

Progress = Callable[[int], None]


class AlreadyRunning(Exception):
    """Another process is rebuilding this projector."""


def rebuild(kind: type[Projector], *, batch: int = BATCH, progress: Progress = lambda events: None) -> int:
    """Replay the log into new tables of a projector and put them in place of the live ones.

    Readers see the old rows until the switch, which is one transaction; killed before it, the old
    rows stand. Events appended meanwhile are in the result. Commands and live delivery go on but
    for the moment of the switch. `batch` is in events; `progress` is called with how many more are
    done. Returns how many were replayed. Raises `AlreadyRunning`.
    """
    with _alone(kind), _shadows(kind) as shadows:
        replay = Replay(kind({live: shadow.model for live, shadow in shadows.items()}), batch, progress)
        replay.fill()
        replay.drain()
        for shadow in shadows.values():
            shadow.index()
        _switch(kind, replay, list(shadows.values()))
    return replay.done


class Replay:
    """Projects the log from its beginning into the tables of one projector.

    `position` is how far it has come, `done` how many events that took.
    """

    def __init__(self, projector: Projector, batch: int, progress: Progress) -> None:
        self.projector, self.batch, self.progress = projector, batch, progress
        self.parking = Parking.fresh(projector)
        self.position = self.done = 0

    def fill(self) -> None:
        """Where rows depend on one stream each: fold whole streams and write each row once."""
        if not isinstance(self.projector, RowProjector):
            return
        until = store.safe_position()
        blank = bulk.blank_rows(self.projector.table(self.projector.model))
        streams: list[list[RecordedEvent]] = []
        size = 0
        for _, stream in groupby(store.read_streams(self.projector.category, until=until), attrgetter("stream")):
            streams.append([recorded for recorded in stream if recorded.position not in self.parking.skipped])
            size += len(streams[-1])
            if size >= self.batch:
                self._write(self.projector, blank, streams)
                streams, size = [], 0
        self._write(self.projector, blank, streams)
        self.position = until

    def drain(self) -> None:
        """Project what is left, in the order of the log, up to the safe position."""
        safe = store.safe_position()
        while events := self._next(safe):
            with transaction.atomic(using=self.projector.service):
                deliver(self.projector, events, self.parking)
            self.position = events[-1].position
            self._advance(len(events))
        self.position = safe

    def _next(self, safe: int) -> list[RecordedEvent]:
        categories = self.projector.categories
        return list(store.read_all(after=self.position, until=safe, limit=self.batch, category=categories))

    def _write(self, projector: RowProjector, blank: Callable[[UUID], Any], streams: list[list[RecordedEvent]]) -> None:
        try:
            rows = [projector.fold(blank(events[0].stream_id), events) for events in streams]
            with transaction.atomic(using=projector.service):
                bulk.insert(projector.table(projector.model), rows)
        except (OperationalError, InterfaceError):
            raise
        except Exception:
            for events in streams:
                with transaction.atomic(using=projector.service):
                    deliver(projector, events, self.parking)
        self._advance(sum(len(events) for events in streams))

    def _advance(self, events: int) -> None:
        self.done += events
        self.progress(events)


def _switch(kind: type[Projector], replay: Replay, shadows: list[Shadow]) -> None:
    """Take in what came last, then put tables, checkpoint and parked events in place together."""
    checkpoints.places(kind.service)
    with transaction.atomic(using=kind.service):
        place = checkpoints.checkpoint_model(kind.service).objects.select_for_update().get(name=kind.name)
        replay.drain()
        failpoint("switching")
        for shadow in shadows:
            shadow.replace()
        replay.parking.model.objects.filter(projector=kind.name, status__in=OPEN).delete()
        replay.parking.save()
        place.position = replay.position
        place.save()


@contextmanager
def _shadows(kind: type[Projector]) -> Iterator[dict[type, Shadow]]:
    shadows = {live: Shadow(live) for live in kind.models}
    for shadow in shadows.values():
        shadow.create()
    try:
        yield shadows
    finally:
        for shadow in shadows.values():
            shadow.drop()


@contextmanager
def _alone(kind: type[Projector]) -> Iterator[None]:
    """One rebuild of a projector at a time, by a lock that ends with its process."""
    connection = connections[kind.service]
    busy = AlreadyRunning(f"{kind.name} is being rebuilt by another process")
    if connection.vendor == "sqlite":
        with Path(f"{connection.settings_dict['NAME']}.{kind.name}.lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise busy from None
            yield
        return
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(hashtext(%s))", [f"rebuild {kind.name}"])
        if not cursor.fetchone()[0]:
            raise busy
        try:
            yield
        finally:
            cursor.execute("SELECT pg_advisory_unlock(hashtext(%s))", [f"rebuild {kind.name}"])
