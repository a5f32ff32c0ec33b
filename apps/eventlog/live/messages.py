"""Events as the live stream sends them, encoded once for all clients, and the newest of them, kept at hand."""

from bisect import bisect_right
from collections.abc import Sequence
from operator import attrgetter
from typing import Any, NamedTuple, Self
from uuid import UUID

import msgspec
from django_eventstream.utils import make_id, sse_encode_event

from apps.eventlog.events import RecordedEvent

CHANNEL = "events"
NUMBER, SIZE = 2000, 4 * 1024 * 1024  # events and bytes kept for clients that are a little behind


def id_of(position: int) -> str:
    """The id that a client resumes from."""
    return make_id({CHANNEL: position})


class Entry(NamedTuple):
    """An event as every client gets it: staff its `text`, a customer `own`, which does not name staff."""

    position: int
    category: str
    type: str
    stream: str
    owner: UUID | None
    text: bytes
    own: bytes

    @classmethod
    def of(cls, recorded: RecordedEvent, owner: UUID | None) -> Self:
        whole, shown = recorded.document(), recorded.document(owner)
        text = _encoded(whole)
        own = text if shown == whole else _encoded(shown)
        return cls(recorded.position, recorded.category, recorded.type, recorded.stream, owner, text, own)


def _encoded(document: dict[str, Any]) -> bytes:
    data = msgspec.json.encode(document).decode()
    return sse_encode_event("message", data, event_id=id_of(document["position"])).encode()


class Wanted(NamedTuple):
    """Which events a client gets; None is any."""

    category: str | None = None
    type: str | None = None
    stream: str | None = None
    owner: UUID | None = None

    def takes(self, entry: Entry) -> bool:
        return (
            self.category in (None, entry.category)
            and self.type in (None, entry.type)
            and self.stream in (None, entry.stream)
            and self.owner in (None, entry.owner)
        )


class Recent(NamedTuple):
    """The newest events: all of them after `floor`."""

    floor: int
    entries: tuple[Entry, ...] = ()

    def after(self, position: int) -> Sequence[Entry] | None:
        """The events after a position, None where that is too long ago."""
        if position < self.floor:
            return None
        return self.entries[bisect_right(self.entries, position, key=attrgetter("position")) :]

    def extended(self, entries: Sequence[Entry]) -> "Recent":
        """With new events, without the oldest ones that no longer fit."""
        everything, size = (*self.entries, *entries), 0
        for number, entry in enumerate(reversed(everything)):
            size += len(entry.text)
            if number == NUMBER or size > SIZE:
                return Recent(entry.position, everything[len(everything) - number :])
        return Recent(self.floor, everything)
