"""Whose a stream is: the owner that its aggregate names, decided by the stream's first event.

An owner never changes, so a process remembers those of the streams it saw last and asks the log
once for those it does not know.
"""

from collections.abc import Iterable
from uuid import UUID

import msgspec

from apps.eventlog import store
from apps.eventlog.aggregates import Aggregate
from apps.eventlog.events import RecordedEvent, UnknownEvent

REMEMBERED = 20_000  # streams


class Owners:
    """The owners of streams, for one thread."""

    def __init__(self) -> None:
        self._known: dict[str, UUID | None] = {}

    def of(self, events: Iterable[RecordedEvent]) -> dict[str, UUID | None]:
        """The owner of each event's stream; None where only staff may see it."""
        events = list(events)
        for recorded in events:
            if recorded.stream_version == 1:
                self._remember(recorded)
        unknown = {recorded.stream for recorded in events} - self._known.keys()
        if unknown:
            for recorded in store.first_events(unknown):
                self._remember(recorded)
        found = {recorded.stream: self._known.get(recorded.stream) for recorded in events}
        while len(self._known) > REMEMBERED:
            del self._known[next(iter(self._known))]
        return found

    def _remember(self, first: RecordedEvent) -> None:
        self._known[first.stream] = owner_by(first)


def owner_of(stream: str) -> UUID | None:
    """The owner of a stream by its name; None also where there is no such stream."""
    first = next(store.read_stream(stream, limit=1), None)
    return owner_by(first) if first else None


def owner_by(first: RecordedEvent) -> UUID | None:
    """The owner that the first event of a stream decides; None for an event that this code cannot read."""
    kind = Aggregate.registry.get(first.category)
    if kind is None:
        return None
    try:
        return kind(first.stream_id).fold([first]).owner
    except (UnknownEvent, msgspec.ValidationError, LookupError, ValueError):
        return None
