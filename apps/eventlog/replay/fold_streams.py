"""Replay the log from its beginning into the tables of one projector."""

from collections.abc import Callable
from itertools import groupby
from operator import attrgetter
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.utils import InterfaceError, OperationalError

from apps.eventlog import store
from apps.eventlog.database import bulk_rows
from apps.eventlog.delivery.dead_letters import dead_letters_of, deliver
from apps.eventlog.events import Place, RecordedEvent
from apps.eventlog.projectors import Projector, RowProjector

BATCH = 4000  # events

Progress = Callable[[int], None]


class Replay:
    """One projector on its way through the log. `fold_streams` is fast, `project_rest` does what it leaves.

    `place` is how far the replay has come, `done` the number of events that this took. `accept_dead_letters` says if
    the rows may lose events. `batch` is in events; `progress` is called with the number of events done since its last
    call. `require_lock` raises if this is no longer the only rebuild of the projector.
    """

    def __init__(
        self,
        projector: Projector,
        batch: int = BATCH,
        progress: Progress = lambda events: None,
        require_lock: Callable[[], None] = lambda: None,
    ) -> None:
        self.projector, self.batch, self.progress, self.require_lock = projector, batch, progress, require_lock
        [self.dead_letters] = dead_letters_of([projector], replay=True)
        self.place, self.done = Place(), 0
        self.accept_dead_letters = False

    def fold_streams(self, until: Place, first: str = "", end: str = "", *, ahead: bool = True) -> None:
        """Fold whole streams up to a place and write each row once, if each row depends on one stream alone.

        For any other projector this does nothing. `first`, `end` and `ahead`: see `store.read_streams`.
        """
        if not isinstance(self.projector, RowProjector):
            return
        blank = bulk_rows.blank_rows(self.projector.table(self.projector.model))
        streams: list[list[RecordedEvent]] = []
        size, skipped = 0, self.dead_letters.skipped
        history = store.read_streams(self.projector.category, until=until.position, first=first, end=end, ahead=ahead)
        for _, stream in groupby(history, attrgetter("stream")):
            events = list(stream)
            if skipped:
                events = [recorded for recorded in events if not self.dead_letters.rules_out(recorded)]
            streams.append(events)
            size += len(events)
            if size >= self.batch:
                self._write(self.projector, blank, streams)
                streams, size = [], 0
        self._write(self.projector, blank, streams)
        self.place = until

    def project_rest(self, until: Place) -> None:
        """Project the events between `self.place` and another place, in the order of the log.

        Raises `store.LogWentBack` if `self.place` is not in the log.
        """
        categories, end = self.projector.categories, until.position
        while events := list(store.read_all(after=self.place, until=end, limit=self.batch, category=categories)):
            with transaction.atomic(using=self.projector.service):
                deliver(events, self.dead_letters)
            self.place = events[-1].place
            self.advance(len(events))
        self.place = max(self.place, until, key=attrgetter("position"))

    def advance(self, events: int) -> None:
        """Count events that are done, and log those of them that failed."""
        self.dead_letters.log_failures()
        self.done += events
        self.progress(events)

    def _write(self, projector: RowProjector, blank: Callable[[UUID], Any], streams: list[list[RecordedEvent]]) -> None:
        """Fold some streams and write their rows. If that fails, deliver stream by stream and find the bad events."""
        streams = [events for events in streams if events]
        if not self._insert(projector, blank, streams):
            for events in streams:
                with transaction.atomic(using=projector.service):
                    deliver(events, self.dead_letters)
        self.advance(sum(len(events) for events in streams))

    def _insert(
        self, projector: RowProjector, blank: Callable[[UUID], Any], streams: list[list[RecordedEvent]]
    ) -> bool:
        """False if one of the streams cannot be folded into a row, or its row not be written."""
        try:
            rows = [projector.fold(blank(events[0].stream_id), events) for events in streams]
            bulk_rows.insert(projector.table(projector.model), rows)
        except (OperationalError, InterfaceError):
            raise
        except Exception:
            return False
        return True
