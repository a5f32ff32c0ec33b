"""Which position an instant means, without reading the whole log.

An instant means the log up to the last event that was recorded at the instant or before it. As positions rise, instants
may fall: if a clock was set back, or if an older log was imported. So a binary search would miss that event. But
what is in the log does not change. This process reads the earliest instant of each block of positions once, and then
those instants tell it which one block to search.
"""

from datetime import datetime
from threading import Lock
from typing import Any

from apps.eventlog.database.statements import Query, rows
from apps.eventlog.log import queries
from apps.eventlog.log.engine import ALIAS, engine

BLOCK = 10_000  # positions


class Blocks:
    """What this process has read of the blocks of one log.

    It may be lost at any time. It is never wrong for long: each call looks whether the last event that was read is
    still in the log, and if it is not, because it was rolled back or another log was restored, reads again.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._begin_anew()

    def _begin_anew(self) -> None:
        self._earliest: dict[int, Any] = {}  # instants as the engine compares them
        self._end = 0  # the position that the blocks go up to
        self._witness: tuple[int, Any] | None = None  # position and id of the last event there

    def position_at(self, instant: datetime, safe: int) -> int:
        """The last position that an instant means, given a safe position; 0 if the instant is before all events."""
        until = engine().plain(instant)
        with self._lock:
            self._read_on(safe // BLOCK * BLOCK)
            end, block = self._end, max((each for each, at in self._earliest.items() if at <= until), default=None)
        found = _ask(queries.last_recorded_by(until, end, None))
        if not found and block is not None:
            found = _ask(queries.last_recorded_by(until, block * BLOCK, (block + 1) * BLOCK))
        return found[0][0] if found else 0

    def _read_on(self, end: int) -> None:
        if self._witness and not _ask(queries.with_id(*self._witness)):
            self._begin_anew()
        if end <= self._end:
            return
        self._earliest.update((block, at) for block, at in _ask(queries.earliest_by_block(BLOCK, self._end, end)))
        last = _ask(queries.last_between(self._end, end))
        self._witness = (last[0][0], last[0][1]) if last else self._witness
        self._end = end


def _ask(query: Query) -> list[tuple[Any, ...]]:
    return rows(ALIAS, *query)


blocks = Blocks()
