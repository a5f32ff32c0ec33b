"""Events as endpoints get them, encoded once for all; requests, and the answers to them."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple, Self

import msgspec

from apps.eventlog import store
from apps.eventlog.events import FIELDS, DomainEvent, Place, RecordedEvent, is_encrypted
from apps.eventlog.log import places, queries
from apps.eventlog.log.engine import engine
from apps.eventlog.relay.webhooks.models import Delivery

AT_ONCE = 20  # events of a held stream that are read together


class Message(NamedTuple):
    """An event with the body of its request, and what a delivery remembers of it."""

    place: Place
    stream: str
    stream_version: int
    type: str
    recorded_at: datetime
    body: bytes

    @classmethod
    def of(cls, recorded: RecordedEvent) -> Self:
        """The message of an event that was read with its personal fields encrypted."""
        body = msgspec.json.encode(_document(recorded))
        about = recorded.stream, recorded.stream_version, recorded.type, recorded.recorded_at
        return cls(recorded.place, *about, body)

    @property
    def id(self) -> str:
        return str(self.place.event_id)


class Parcel(NamedTuple):
    """A request to be sent. `key` comes back with the answer."""

    key: Any
    url: str
    headers: dict[str, str]
    body: bytes


class Answer(NamedTuple):
    """What came of a parcel: the status of the answer, None if there was none; `error` is empty if it was taken.

    `wish` are the seconds for which the receiver asked to be left in peace.
    """

    key: Any
    status: int | None
    error: str = ""
    wish: float = 0.0


def _document(recorded: RecordedEvent) -> dict[str, Any]:
    """The event's document as in the feed, without its personal fields: what has left the house cannot be erased."""
    kind = DomainEvent.types.get(recorded.type)
    personal = kind.personal if kind else ()
    data = {name: value for name, value in recorded.data.items() if name not in personal and not is_encrypted(value)}
    shown = {name: getattr(recorded, name) for name in FIELDS if name not in ("data", "metadata")}
    return shown | {"data": data, "metadata": msgspec.Raw(recorded.stored_metadata)}


def following(place: Place, end: Place, limit: int, types: Sequence[str]) -> tuple[list[Message], Place]:
    """The messages of these types, or of all if there are none, that follow a place, and the place they reach.

    Raises `LogWentBack` if the place is not in the log.
    """
    page = store.read_page(after=place, end=end.position, limit=limit, encrypted=True, types=types or None)
    if len(page) == limit:
        return [Message.of(recorded) for recorded in page], page[-1].place
    return [Message.of(recorded) for recorded in page], max(place, end, key=lambda each: each.position)


def of_stream(delivery: Delivery, end: int, types: Sequence[str]) -> list[Message]:
    """The event of a delivery, and then, up to a position, the next ones of its stream that are of these types, if any.

    If there is a next one, at least one is found. Raises `LogWentBack` if the log has not the event of the delivery.
    """
    found: list[RecordedEvent] = []
    version, size = delivery.stream_version, AT_ONCE
    while len(found) < 2 and size == AT_ONCE:
        versions = range(version, store.NEWEST)
        page = engine().read(queries.stream_page(delivery.stream, versions, end, AT_ONCE, backwards=False))
        if not found:
            places.require(delivery.place, page[0].place if page else None)
        found += [each for each in page if each.place == delivery.place or not types or each.type in types]
        version, size = version + len(page), len(page)
    return [Message.of(recorded) for recorded in found]
