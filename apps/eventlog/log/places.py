"""Places of the log, and whether they are still in it: a reader knows the log by a place, not by a position alone."""

from collections.abc import Collection, Sequence
from datetime import datetime
from itertools import zip_longest
from typing import NamedTuple, Protocol, TypeVar
from uuid import UUID

from apps.eventlog.database import statements
from apps.eventlog.errors.texts import Impersonal
from apps.eventlog.events import Place, stored_names
from apps.eventlog.log import queries
from apps.eventlog.log.engine import ALIAS, engine


class LogWentBack(Impersonal):
    """A reader's place is not in the log: an older backup was restored, or a standby that was behind took over.

    `place` is the reader's, `found` the id of the event that the log has at that position now, None if it has none.
    """

    def __init__(self, place: Place, found: UUID | None) -> None:
        there = f"now has event {found}" if found else "now has no event"
        had = f"event {place.event_id}" if place.event_id else "an event"
        super().__init__(f"the log went back: at position {place.position} it had {had}, and {there}")
        self.place, self.found = place, found


class Look(NamedTuple):
    """What a reader sees at one look at the log: is there news for it, and is a place of its own gone?"""

    news: bool
    gone: bool


def place_at(position: int) -> Place:
    """The last event at or before a position."""
    found = statements.rows(ALIAS, *queries.last_between(0, position))
    return Place.read(*found[0]) if found else Place()


def first_place() -> Place:
    """The first event of the log. Every copy and every restored backup of the log has the same, and no other log."""
    found = statements.rows(ALIAS, *queries.first())
    return Place.read(*found[0]) if found else Place()


def places_at(positions: Collection[int]) -> dict[int, Place]:
    """The event at each of these positions, without those that have none."""
    found = statements.rows(ALIAS, *queries.ids_at(positions)) if positions else []
    return {row[0]: Place.read(*row) for row in found}


def end_of_imports(position: int) -> int:
    """Where the last import ends that begins at or before a position; 0 if there is none."""
    found = statements.rows(ALIAS, *queries.import_before(position))
    return int(found[0][0]) if found else 0


def has(place: Place) -> bool:
    """Is this place in the log? The beginning always is."""
    return place == Place() or places_at([place.position]).get(place.position) == place


def earlier_places(position: int) -> list[Place]:
    """Events at about 1, 2, 4, 8 ... positions before one, oldest first."""
    steps = (2**power for power in range(position.bit_length()))
    return sorted(places_at([position - step for step in steps if step < position]).values())


class Mark(Protocol):
    """What lies at a position of the log."""

    @property
    def position(self) -> int: ...


AnyMark = TypeVar("AnyMark", bound=Mark)


def thinned(trail: Sequence[AnyMark], mark: AnyMark) -> list[AnyMark]:
    """The trail, newest first, with one more mark, and without those that lie too close together for their age.

    A mark goes if the one before it is less than twice as far from the end as the one behind it.
    """
    kept, earlier = [mark], [each for each in trail if each.position < mark.position]
    for each, behind in zip_longest(earlier, earlier[1:]):
        near = mark.position - kept[-1].position
        if behind is None or mark.position - behind.position > 2 * near:
            kept.append(each)
    return kept


def waiting_since(after: int, kinds: Collection[tuple[str, str]]) -> datetime | None:
    """When the first event beyond a position was recorded that is of one of these kinds; None if there is none.

    A kind is a column, `category` or `type`, and its value; without a column it is every event.
    """
    stored = [(column, each) for column, value in kinds for each in _stored(column, [value])]
    each = [queries.first_of_kind(column, value, after) for column, value in stored]
    found = statements.rows(ALIAS, *queries.any_of(each)) if each else []
    return engine().read(queries.at(min(found)[0]))[0].recorded_at if found else None


def _stored(column: str, values: Collection[str]) -> Collection[str]:
    """What a column of the log has for these values: an event type may have former names."""
    return stored_names(values) if column == "type" else values


def head_after(place: Place) -> Place:
    """The last visible event, if a place is still in the log. Raises `LogWentBack`."""
    found = {row[0]: Place.read(*row) for row in statements.rows(ALIAS, *queries.head_and(place.position))}
    require(place, found.get(place.position))
    return found[max(found)] if found else Place()


def require(place: Place, found: Place | None) -> None:
    """Raise `LogWentBack` unless the log has the event of a place at its position."""
    if place.event_id is not None and found != place:
        raise LogWentBack(place, found and found.event_id)


def look(
    position: int,
    places: Collection[Place] = (),
    *,
    until: int | None = None,
    category: Collection[str] = (),
    types: Collection[str] = (),
) -> Look:
    """What a reader at a position sees of these categories, or else of these types; and is one of its places gone?

    One statement answers both. See `store.any_after`.
    """
    column, values = ("category", category) if category else ("type", types)
    each = [engine().next_of_kind(column, value, position, until) for value in _stored(column, values)]
    each += [queries.gone(at, engine().plain(id)) for at, id in places if id is not None]
    answers = {answer for (answer,) in statements.rows(ALIAS, *queries.any_of(each))} if each else set()
    return Look(1 in answers, 2 in answers)
