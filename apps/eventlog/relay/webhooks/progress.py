"""How far endpoints are: what each has yet to get, and since when it waits."""

from collections import defaultdict
from collections.abc import Collection, Sequence
from datetime import datetime
from functools import cache
from typing import Any, NamedTuple
from uuid import UUID

from django.utils import timezone

from apps.eventlog import store
from apps.eventlog.database import statements
from apps.eventlog.events import Place
from apps.eventlog.log import places, queries
from apps.eventlog.log.engine import ALIAS
from apps.eventlog.relay.webhooks.models import Delivery, Endpoint

PART = 200  # streams in one statement


class Rest(NamedTuple):
    """How many events an endpoint has yet to get, and when the first of them was recorded."""

    events: int
    since: datetime | None


def documents(endpoints: Collection[Endpoint]) -> list[dict[str, Any]]:
    """What the API shows of these endpoints. Those at the same place of the log share the counting."""
    owed: dict[UUID, list[Delivery]] = defaultdict(list)
    for delivery in Delivery.objects.filter(endpoint__in=endpoints, status__in=Delivery.OPEN):
        owed[delivery.endpoint_id].append(delivery)
    rest_of, gone, now = cache(_rest), _gone(endpoints), timezone.now()
    found = []
    for endpoint in endpoints:
        deliveries = owed[endpoint.pk]
        rest = rest_of(endpoint.position, tuple(endpoint.event_types))
        waiting = _waiting(deliveries, endpoint.position, endpoint.event_types)
        instants = [each for each in (rest.since, *(delivery.recorded_at for delivery in deliveries)) if each]
        found.append(
            {
                "id": endpoint.pk,
                "url": endpoint.url,
                "event_types": endpoint.event_types,
                "active": endpoint.active,
                "position": endpoint.position,
                "lag_events": rest.events + waiting,
                "lag_seconds": round(max(0.0, (now - min(instants)).total_seconds()), 3) if instants else 0.0,
                "failing_since": endpoint.failing_since,
                "last_error": endpoint.last_error,
                "dead_letters": sum(each.status == Delivery.Status.SET_ASIDE for each in deliveries),
                "log_went_back": endpoint.log_went_back or endpoint.pk in gone,
            }
        )
    return found


def _rest(position: int, types: tuple[str, ...]) -> Rest:
    """What lies beyond a place."""
    wanted = list(types) or None
    first = store.read_page(after=position, end=store.safe_position(), limit=1, encrypted=True, types=wanted)
    if not first:
        return Rest(0, None)
    return Rest(store.count(after=position, types=wanted), first[0].recorded_at)


def _waiting(deliveries: Sequence[Delivery], position: int, types: Collection[str]) -> int:
    """How many events up to a position wait in the streams of these deliveries, theirs included."""
    found = 0
    for start in range(0, len(deliveries), PART):
        part = [(each.stream, each.stream_version) for each in deliveries[start : start + PART]]
        found += sum(count for (count,) in statements.rows(ALIAS, *queries.count_of_streams(part, position, types)))
    return found


def went_back() -> list[Endpoint]:
    """The active endpoints whose place is not in the log, whether they have found that already or not."""
    active = list(Endpoint.objects.filter(active=True))
    gone = _gone(active)
    return [endpoint for endpoint in active if endpoint.log_went_back or endpoint.pk in gone]


def _gone(endpoints: Collection[Endpoint]) -> set[UUID]:
    """The endpoints whose place is not in the log."""
    positions = list({endpoint.position for endpoint in endpoints if endpoint.event_id is not None})
    known: dict[int, Place] = {}
    for start in range(0, len(positions), PART):
        known |= places.places_at(positions[start : start + PART])
    return {each.pk for each in endpoints if each.event_id and known.get(each.position) != each.place}
