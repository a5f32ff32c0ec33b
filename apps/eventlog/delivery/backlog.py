"""How many events lie before and behind a position, counted anew only where the log or a reader has moved.

To count a million events takes a tenth of a second, and every scrape of the metrics asks for each reader. What is
counted once stays true, because nothing changes at or before the safe position, unless the log goes back.
"""

from collections.abc import Iterable
from typing import NamedTuple

from apps.eventlog import store
from apps.eventlog.events import Place
from apps.eventlog.log import places

MOST = 16  # counts that are remembered of a kind


class Kind(NamedTuple):
    """The events that have a value in a column of the log, `category` or `type`."""

    column: str
    value: str


EVERYTHING = Kind("", "")


class Counts:
    """Counts of events at or before positions. The caller sees to it that no two threads use it at once."""

    def __init__(self) -> None:
        self.known: dict[Kind, dict[int, int]] = {}
        self.seen = Place()

    def begin(self, safe: Place) -> None:
        """Look at the log again, which is safe to read up to a place: if it went back, all counts are forgotten."""
        if not places.has(self.seen):
            self.known.clear()
        self.seen = safe

    def up_to(self, position: int, kinds: Iterable[Kind]) -> int:
        """How many events of these kinds lie at or before a position, which is not beyond the safe one."""
        return sum(self._up_to(position, kind) for kind in kinds)

    def _up_to(self, position: int, kind: Kind) -> int:
        known = self.known.setdefault(kind, {0: 0})
        nearest = min(known, key=lambda each: abs(each - position))
        first, last = sorted((nearest, position))
        between = count(kind, first, last) if first < last else 0
        found = known[nearest] + (between if position > nearest else -between)
        known.pop(position, None)
        known[position] = found  # at the end, because the one that was not used for the longest time goes
        if len(known) > MOST:
            del known[next(iter(known))]
        return found


def count(kind: Kind, after: int, until: int | None = None) -> int:
    """How many events of a kind lie beyond a position, and up to another."""
    return store.count(
        after=after,
        until=until,
        category=kind.value if kind.column == "category" else None,
        types=[kind.value] if kind.column == "type" else None,
    )
