"""The trail of a reactor: earlier checkpoints of its own, from which it goes on if the log went back.

The newest lie one event apart, older ones further, as it were 1, 2, 4, 8 ... positions from the end. So a trail has
at most some hundred marks, and whoever must go back goes back about twice as far as is necessary.
"""

from itertools import zip_longest
from typing import Any, NamedTuple, Self
from uuid import UUID

from apps.eventlog import store
from apps.eventlog.delivery import checkpoints
from apps.eventlog.events import Place


class Mark(NamedTuple):
    """A reactor had reacted to everything up to `position` when the log ended at the place `seen`."""

    position: int
    seen: Place

    @classmethod
    def decoded(cls, written: list[Any]) -> Self:
        position, seen, event_id = written
        return cls(position, Place(seen, UUID(event_id)))

    def encoded(self) -> list[Any]:
        return [self.position, self.seen.position, str(self.seen.event_id)]


def of(service: str, name: str) -> list[Mark]:
    """The trail of a reactor as its checkpoint has it, newest first."""
    written = checkpoints.checkpoint_model(service).objects.values_list("trail", flat=True).get(name=name)
    return [Mark.decoded(each) for each in written or ()]


def extended(trail: list[Mark], mark: Mark) -> list[Mark]:
    """The trail, newest first, with one more mark, and without those that lie too close together for their age.

    A mark goes if the one before it is less than twice as far from the end as the one behind it.
    """
    kept, earlier = [mark], [each for each in trail if each.position < mark.position]
    for each, behind in zip_longest(earlier, earlier[1:]):
        near = mark.position - kept[-1].position
        if behind is None or mark.position - behind.position > 2 * near:
            kept.append(each)
    return kept


def begun(position: int) -> list[Mark]:
    """A trail for a reactor that has none, made of some earlier events of the log."""
    return [Mark(place.position, place) for place in reversed(store.earlier_places(position))]


def last_shared(trail: list[Mark]) -> Mark:
    """The newest mark that surely was in this log, effects of its reaction included; the beginning if none was.

    That the log has an event later than what a mark has seen shows that all is there which had been written when the
    mark was made.
    """
    found = store.places_at({mark.seen.position for mark in trail})
    shared = [mark for mark in trail if found.get(mark.seen.position) == mark.seen]
    earlier = (mark for mark in shared if mark.seen.position < shared[0].seen.position)
    return next(earlier, Mark(0, Place()))
