"""Earlier places of an endpoint, from which it goes on if the log went back. See `delivery/trail.py` for reactors."""

from collections.abc import Iterable
from uuid import UUID

from apps.eventlog.events import Place
from apps.eventlog.log import places
from apps.eventlog.relay.webhooks.models import Endpoint

Written = list[list[int | str]]


def read(written: Written) -> list[Place]:
    """The places of a trail as the column has it, newest first."""
    return [Place(int(position), UUID(str(id))) for position, id in written]


def written(trail: Iterable[Place]) -> Written:
    return [[place.position, place.event_id.hex] for place in trail if place.event_id is not None]


def begun(place: Place) -> list[Place]:
    """A trail that ends at a place, made of some earlier events of the log."""
    earlier = places.earlier_places(place.position)
    return [each for each in (place, *reversed(earlier)) if each.event_id is not None]


def extend(endpoint: Endpoint) -> bool:
    """Add the place of an endpoint to its trail; False if it is there already."""
    place = endpoint.place
    if place.event_id is None or endpoint.trail[:1] == written([place]):
        return False
    endpoint.trail = written(places.thinned(read(endpoint.trail), place))
    return True


def last_shared(trail: list[Place]) -> Place:
    """The newest place of a trail that the log still has; the beginning if it has none."""
    found = places.places_at({place.position for place in trail})
    return next((place for place in trail if found.get(place.position) == place), Place())
