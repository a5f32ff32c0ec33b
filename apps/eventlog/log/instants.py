"""The prefix of the log that an instant means, without a look at all of the log.

It ends with the last event recorded at the instant or before it. Instants may fall along positions (a clock set
back, an import of an older log), so no search by halves finds it. But what is in the log does not change: the
earliest instant of each block of positions is read once a process, and one look at those tells the block to read.
"""

from datetime import datetime
from threading import Lock
from uuid import UUID

from django.db.models import F, Min, QuerySet

from apps.eventlog.models import StoredEvent

BLOCK = 10_000  # positions


class Blocks:
    """What is known of the blocks of one log."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._begin_anew()

    def _begin_anew(self) -> None:
        self._earliest: dict[int, datetime] = {}
        self._end = 0  # the position that the blocks go up to
        self._witness: tuple[int, UUID] | None = None  # the last event there

    def position_at(self, instant: datetime, safe: int) -> int:
        """The end of the prefix that an instant means, given a safe position; 0 where it is before all events."""
        with self._lock:
            self._read_on(safe // BLOCK * BLOCK)
            end, block = self._end, max((each for each, at in self._earliest.items() if at <= instant), default=None)
        early = StoredEvent.objects.filter(recorded_at__lte=instant).order_by("-position")
        last = _first(early.filter(position__gt=end))
        if last is None and block is not None:
            last = _first(early.filter(position__gt=block * BLOCK, position__lte=(block + 1) * BLOCK))
        return last or 0

    def _read_on(self, end: int) -> None:
        if self._witness:
            position, id = self._witness
            if not StoredEvent.objects.filter(position=position, event_id=id).exists():
                self._begin_anew()  # it was rolled back, or another log has taken the place of this one
        if end <= self._end:
            return
        events = StoredEvent.objects.filter(position__gt=self._end, position__lte=end).order_by("-position")
        blocks = events.order_by().annotate(block=(F("position") - 1) / BLOCK).values_list("block")
        self._earliest.update(blocks.annotate(Min("recorded_at")))
        self._witness = events.values_list("position", "event_id").first() or self._witness
        self._end = end


def _first(events: QuerySet[StoredEvent]) -> int | None:
    return events.values_list("position", flat=True).first()


blocks = Blocks()
