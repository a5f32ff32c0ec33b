"""How far readers are from the end of the log, as the log has it."""

import threading
import time
from collections import deque
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from django.utils import timezone

from apps.eventlog import store
from apps.eventlog.delivery import backlog
from apps.eventlog.delivery.backlog import Counts
from apps.eventlog.events import Place
from apps.eventlog.log import places
from apps.eventlog.read.readers import Reader

PERIOD = 60.0  # seconds over which a rate is taken
SHORTEST = 1.0  # seconds that two looks must lie apart for a rate


class Progress(NamedTuple):
    """How many events a reader has taken of those that it follows, how many wait, and since when the oldest does.

    `rate` is the number of events a second that it has taken lately; None if this process has just begun to look.
    """

    events: int
    lag_events: int
    lag_seconds: float
    went_back: bool
    rate: float | None


_lock = threading.Lock()
_counts = Counts()
_looks: dict[tuple[str, str], deque[tuple[float, int]]] = {}


def of_readers(readers: Iterable[Reader]) -> dict[tuple[str, str], Progress]:
    """The progress of each of these readers, by its key."""
    readers = list(readers)
    safe, head = store.safe_place(), store.head()
    found = places.places_at({each.reached.place.position for each in readers})
    with _lock:
        _counts.begin(safe)
        return {each.key: _progress(each, safe, head, found) for each in readers}


def _progress(reader: Reader, safe: Place, head: int, found: Mapping[int, Place]) -> Progress:
    at = min(reader.reached.position, safe.position)  # it is beyond only if the log went back
    taken = _counts.up_to(at, reader.follows)
    waiting = _counts.up_to(safe.position, reader.follows) - taken
    if head > safe.position:
        waiting += sum(backlog.count(kind, safe.position) for kind in reader.follows)
    since = places.waiting_since(at, reader.follows) if waiting else None
    seconds = max(0.0, (timezone.now() - since).total_seconds()) if since else 0.0
    return Progress(taken, waiting, seconds, reader.stopped or _gone(reader, found), _rate(reader, taken))


def _gone(reader: Reader, found: Mapping[int, Place]) -> bool:
    """Is the place of a reader not in the log? If its event is not known, its position says so."""
    place = reader.reached.place
    if place.unknown:
        return reader.reached.position > store.last_position()
    return place.event_id is not None and found.get(place.position) != place


def _rate(reader: Reader, taken: int) -> float | None:
    now, looks = time.monotonic(), _looks.setdefault(reader.key, deque(maxlen=200))
    if looks and looks[-1][1] > taken:  # it went back
        looks.clear()
    while looks and now - looks[0][0] > PERIOD:
        looks.popleft()
    looks.append((now, taken))
    began, before = looks[0]
    return (taken - before) / (now - began) if now - began >= SHORTEST else None
