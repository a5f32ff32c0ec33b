"""The trail of a reactor: earlier checkpoints of its own, from which it goes on if the log went back.

The newest lie one event apart, older ones further, as it were 1, 2, 4, 8 ... positions from the end. So a trail has
at most some hundred marks, and whoever must go back goes back about twice as far as is necessary.
"""

from collections.abc import Sequence
from typing import NamedTuple, Self
from uuid import UUID

import msgspec

from apps.eventlog.database.statements import rows
from apps.eventlog.delivery import checkpoints
from apps.eventlog.events import Place
from apps.eventlog.log import places


class Mark(NamedTuple):
    """A reactor had reacted to everything up to `position` when the log ended with an event; `event_id` is its id.

    The id stays text: a trail is read and written with each reaction, and its ids are asked for only if the log went
    back.
    """

    position: int
    event_position: int
    event_id: str

    @classmethod
    def of(cls, position: int, seen: Place) -> Self:
        return cls(position, seen.position, seen.event_id.hex if seen.event_id else "")

    @property
    def seen(self) -> Place:
        return Place(self.event_position, UUID(self.event_id)) if self.event_id else Place(self.event_position)


_read = msgspec.json.Decoder(list[Mark]).decode


def of(service: str, name: str) -> list[Mark]:
    """The trail of a reactor as its checkpoint has it, newest first."""
    found = rows(service, f"SELECT trail FROM {checkpoints.table(service)} WHERE name = %s", [name])  # noqa: S608
    return read(found[0][0] if found else None)


def read(written: str | None) -> list[Mark]:
    """The marks of a trail as the column holds it."""
    return _read(written) if written else []


def written(trail: Sequence[Mark]) -> str:
    """A trail as the column holds it."""
    return msgspec.json.encode(trail).decode()


def begun(position: int) -> list[Mark]:
    """A trail for a reactor that has none, made of some earlier events of the log."""
    return [Mark.of(place.position, place) for place in reversed(places.earlier_places(position))]


def last_shared(trail: list[Mark]) -> Mark:
    """The newest mark that surely was in this log, effects of its reaction included; the beginning if none was.

    That the log has an event later than what a mark has seen shows that all is there which had been written when the
    mark was made.
    """
    found = places.places_at({mark.event_position for mark in trail})
    shared = [mark for mark in trail if found.get(mark.event_position) == mark.seen]
    earlier = (mark for mark in shared if mark.event_position < shared[0].event_position)
    return next(earlier, Mark.of(0, Place()))
