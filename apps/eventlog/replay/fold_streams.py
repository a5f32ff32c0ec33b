"""Project the log from its beginning into the tables of one projector."""

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from itertools import groupby
from operator import attrgetter
from threading import Thread
from typing import Any
from uuid import UUID

import django
from django.db import connections, transaction
from django.db.utils import InterfaceError, OperationalError

from apps.eventlog import store
from apps.eventlog.database import bulk_rows
from apps.eventlog.delivery.dead_letters import dead_letters_of, deliver
from apps.eventlog.events import RecordedEvent
from apps.eventlog.models import DeadLetter
from apps.eventlog.projectors import Projector, RowProjector
from apps.eventlog.replay.shadow_table import Shadow

BATCH = 4000
RANGE = 2  # batches that a worker process takes on at once, few so that all end at about the same time

Progress = Callable[[int], None]


class Replay:
    """`position` is how far the replay has come, `done` how many events that took."""

    def __init__(self, projector: Projector, batch: int = BATCH, progress: Progress = lambda events: None) -> None:
        self.projector, self.batch, self.progress = projector, batch, progress
        [self.dead_letters] = dead_letters_of([projector], replay=True)
        self.position = self.done = 0

    def fill(self, until: int, first: str = "", end: str = "", *, ahead: bool = True) -> None:
        """Where rows depend on one stream each: fold whole streams and write each row once.

        `first`, `end` and `ahead`: see `store.read_streams`.
        """
        if not isinstance(self.projector, RowProjector):
            return
        blank = bulk_rows.blank_rows(self.projector.table(self.projector.model))
        streams: list[list[RecordedEvent]] = []
        size, skipped = 0, self.dead_letters.skipped
        history = store.read_streams(self.projector.category, until=until, first=first, end=end, ahead=ahead)
        for _, stream in groupby(history, attrgetter("stream")):
            events = list(stream)
            if skipped:
                events = [recorded for recorded in events if recorded.position not in skipped]
            streams.append(events)
            size += len(events)
            if size >= self.batch:
                self._write(self.projector, blank, streams)
                streams, size = [], 0
        self._write(self.projector, blank, streams)
        self.position = until

    def drain(self, until: int) -> None:
        """Project what is left up to a position, in the order of the log."""
        categories = self.projector.categories
        while events := list(store.read_all(after=self.position, until=until, limit=self.batch, category=categories)):
            with transaction.atomic(using=self.projector.service):
                deliver(events, self.dead_letters)
            self.position = events[-1].position
            self.advance(len(events))
        self.position = max(self.position, until)

    def advance(self, events: int) -> None:
        self.done += events
        self.progress(events)

    def _write(self, projector: RowProjector, blank: Callable[[UUID], Any], streams: list[list[RecordedEvent]]) -> None:
        streams = [events for events in streams if events]
        try:
            rows = [projector.fold(blank(events[0].stream_id), events) for events in streams]
            bulk_rows.insert(projector.table(projector.model), rows)
        except (OperationalError, InterfaceError):
            raise
        except Exception:
            for events in streams:
                with transaction.atomic(using=projector.service):
                    deliver(events, self.dead_letters)
        self.advance(sum(len(events) for events in streams))


def fill_in_processes(replay: Replay, until: int, workers: int) -> None:
    """`Replay.fill` by several processes, each for one range of streams after another.

    They are forked where that is safe and quick (Linux), so call it from a command, not from a thread of a server.
    """
    projector = replay.projector
    if not isinstance(projector, RowProjector):
        return
    ranges = list(store.stream_ranges(projector.category, RANGE * replay.batch))
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
    _close_sqlite()
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_begin_worker) as pool:
        try:
            tasks = [pool.submit(_fill_range, projector.name, until, replay.batch, *range_) for range_ in ranges]
            for task in as_completed(tasks):
                done, letters = task.result()
                replay.dead_letters.new += letters
                replay.dead_letters.streams |= {letter.stream for letter in letters}
                replay.advance(done)
        except BaseException:  # Ctrl-C too
            pool.shutdown(cancel_futures=True)
            raise
    replay.position = until


def _close_sqlite() -> None:
    """SQLite keeps account of a process's locks in its memory, which must not say of a child what its parent holds."""
    for connection in connections.all(initialized_only=True):
        if connection.vendor == "sqlite":
            connection.close()


_of_the_parent: list[Any] = []  # connections that a fork has left here: to close them, even as garbage, would end them


def _begin_worker() -> None:
    """The parent alone answers Ctrl-C; where it is killed, nobody may go on writing."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    Thread(target=_end_with_parent, daemon=True).start()
    django.setup()
    for connection in connections.all(initialized_only=True):
        _of_the_parent.append(connection.connection)
        connection.connection = None


def _end_with_parent() -> None:
    if parent := multiprocessing.parent_process():
        parent.join()
        os._exit(1)


def _fill_range(name: str, until: int, batch: int, first: str, end: str) -> tuple[int, list[DeadLetter]]:
    kind = Projector.registry[name]
    part = Replay(kind({live: Shadow(live).model for live in kind.models}), batch)
    part.fill(until, first, end, ahead=False)
    return part.done, part.dead_letters.new
