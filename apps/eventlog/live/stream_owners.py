"""The owner of a stream of events: its aggregate names the owner, and the first event decides it.

An owner never changes. So a process remembers the owners of the streams that it has seen last, and asks the log once
for each of the others.
"""

from collections.abc import Iterable
from uuid import UUID

import msgspec

from apps.eventlog import store
from apps.eventlog.aggregates import Aggregate
from apps.eventlog.events import RecordedEvent, UnknownEvent

REMEMBERED = 20_000  # streams


class Owners:
    """Remembers the owners of streams; not to be shared between threads."""

    def __init__(self) -> None:
        self._known: dict[str, UUID | None] = {}

    def of(self, events: Iterable[RecordedEvent]) -> dict[str, UUID | None]:
        """The owner of each event's stream, by the stream's name; None if only staff may see it."""
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
    """The owner of the stream of this name; None if it has none, or if there is no such stream."""
    first = next(store.read_stream(stream, limit=1), None)
    return owner_by(first) if first else None


def owner_by(first: RecordedEvent) -> UUID | None:
    """The owner that the first event of a stream decides; None also if this code cannot read the event."""
    kind = Aggregate.registry.get(first.category)
    if kind is None:
        return None
    try:
        return kind(first.stream_id).fold([first]).owner
    except (UnknownEvent, msgspec.ValidationError, LookupError, ValueError):
        return None
