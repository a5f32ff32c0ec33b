"""Events as the live stream sends them: encoded once for all clients, and the newest of them kept in memory.

The id of a message is `events:<fingerprint>:<position>`. The fingerprint tells whether the log still has that event at
that position. It is 32 bits of a checksum: two events are compared only if they are at the same position of two logs,
so one in four billion comparisons misses. It is a checksum because imported ids may have the same digits at one end.
"""

from bisect import bisect_right
from collections.abc import Sequence
from operator import attrgetter
from typing import Any, NamedTuple, Self
from uuid import UUID
from zlib import crc32

import msgspec
from django_eventstream.utils import sse_encode_event

from apps.eventlog.events import Place, RecordedEvent

CHANNEL = "events"
# JSON leaves these as they are, and clients that split lines as Unicode does would break a message at them.
BREAKS = {"\x85": r"\u0085", "\u2028": r"\u2028", "\u2029": r"\u2029"}
MOST_MESSAGES, MOST_BYTES = 2000, 4 * 1024 * 1024  # kept for clients that are a little behind


def message_id(place: Place) -> str:
    """The id from which a client resumes after this place; without a fingerprint at the beginning of the log."""
    fingerprint = f"{crc32(place.event_id.bytes):08x}:" if place.event_id else ""
    return f"{CHANNEL}:{fingerprint}{place.position}"


class Message(NamedTuple):
    """An event in the form in which clients get it, and what a filter looks at.

    Staff get its `text`. A customer gets `own`, which does not name staff.
    """

    place: Place
    category: str
    type: str
    stream: str
    owner: UUID | None
    text: bytes
    own: bytes

    @property
    def position(self) -> int:
        return self.place.position

    @classmethod
    def of(cls, recorded: RecordedEvent, owner: UUID | None) -> Self:
        whole, shown = recorded.document(), recorded.document(owner)
        text = _encoded(whole, recorded.place)
        own = text if shown == whole else _encoded(shown, recorded.place)
        return cls(recorded.place, recorded.category, recorded.type, recorded.stream, owner, text, own)


def _encoded(document: dict[str, Any], place: Place) -> bytes:
    data = msgspec.json.encode(document).decode()
    for character, escape in BREAKS.items():
        data = data.replace(character, escape)
    return sse_encode_event("message", data, event_id=message_id(place)).encode()


class Filter(NamedTuple):
    """Which events a client gets; None means any."""

    category: str | None = None
    type: str | None = None
    stream: str | None = None
    owner: UUID | None = None

    def accepts(self, message: Message) -> bool:
        return (
            self.category in (None, message.category)
            and self.type in (None, message.type)
            and self.stream in (None, message.stream)
            and self.owner in (None, message.owner)
        )


class Buffer(NamedTuple):
    """The newest messages: those of all events after the place `start`."""

    start: Place
    messages: tuple[Message, ...] = ()

    def after(self, place: Place) -> Sequence[Message] | None:
        """The messages after a place; None if the buffer does not have that place: only the log can tell."""
        number = bisect_right(self.messages, place.position, key=attrgetter("position"))
        last_seen = self.messages[number - 1].place if number else self.start
        return self.messages[number:] if last_seen == place else None

    def extended(self, messages: Sequence[Message]) -> "Buffer":
        """With new messages at the end, and without the oldest ones that no longer fit."""
        everything, size = (*self.messages, *messages), 0
        for number, message in enumerate(reversed(everything)):
            size += len(message.text)
            if number == MOST_MESSAGES or size > MOST_BYTES:
                return Buffer(message.place, everything[len(everything) - number :])
        return Buffer(self.start, everything)
