"""Events as the live stream sends them: encoded once for all clients, and the newest of them kept in memory."""

from bisect import bisect_right
from collections.abc import Sequence
from operator import attrgetter
from typing import Any, NamedTuple, Self
from uuid import UUID

import msgspec
from django_eventstream.utils import make_id, sse_encode_event

from apps.eventlog.events import RecordedEvent

CHANNEL = "events"
# JSON leaves these as they are, and clients that split lines as Unicode does would break a message at them.
BREAKS = {"\x85": r"\u0085", "\u2028": r"\u2028", "\u2029": r"\u2029"}
MOST_MESSAGES, MOST_BYTES = 2000, 4 * 1024 * 1024  # kept for clients that are a little behind


def message_id(position: int) -> str:
    """The id from which a client resumes after this position."""
    return make_id({CHANNEL: position})


class Message(NamedTuple):
    """An event in the form in which clients get it, and what a filter looks at.

    Staff get its `text`. A customer gets `own`, which does not name staff.
    """

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
    for character, escape in BREAKS.items():
        data = data.replace(character, escape)
    return sse_encode_event("message", data, event_id=message_id(document["position"])).encode()


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
    """The newest messages: those of all events after the position `start`."""

    start: int
    messages: tuple[Message, ...] = ()

    def after(self, position: int) -> Sequence[Message] | None:
        """The messages after a position; None if the buffer does not reach back so far."""
        if position < self.start:
            return None
        return self.messages[bisect_right(self.messages, position, key=attrgetter("position")) :]

    def extended(self, messages: Sequence[Message]) -> "Buffer":
        """With new messages at the end, and without the oldest ones that no longer fit."""
        everything, size = (*self.messages, *messages), 0
        for number, message in enumerate(reversed(everything)):
            size += len(message.text)
            if number == MOST_MESSAGES or size > MOST_BYTES:
                return Buffer(message.position, everything[len(everything) - number :])
        return Buffer(self.start, everything)
