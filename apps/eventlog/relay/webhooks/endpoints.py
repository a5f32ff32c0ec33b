"""What people do with endpoints: make them, change them, let them have again what they have not taken."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import uuid_utils.compat as uuids
from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from apps.eventlog import store
from apps.eventlog.events import Place
from apps.eventlog.log import places
from apps.eventlog.relay.webhooks import signatures, trail
from apps.eventlog.relay.webhooks.models import Delivery, Endpoint
from apps.eventlog.relay.webhooks.records import ALIAS

BOTH_SECRETS = timedelta(days=1)  # for which the secret before a new one is used as well
KEPT = timedelta(days=30)  # for which deliveries that are settled are shown


def create(url: str, event_types: Collection[str] = (), *, active: bool = True) -> tuple[Endpoint, str]:
    """An endpoint that gets the events from now on, and its secret, which nobody can see again.

    `url` comes from `addresses.checked_url`. An empty `event_types` means all. Raises `data_keys.WrongKey` and
    `data_keys.MissingKey`.
    """
    secret_id = uuid4()
    secret = signatures.secret(secret_id)
    start = store.safe_place()
    endpoint = Endpoint.objects.create(
        id=uuids.uuid7(),
        url=url,
        event_types=list(event_types),
        active=active,
        created_at=timezone.now(),
        secret_id=secret_id,
        position=start.position,
        event_id=start.event_id,
        trail=trail.written(trail.begun(start)),
    )
    return endpoint, signatures.shown(secret)


@contextmanager
def _changing(id: UUID) -> Iterator[Endpoint]:
    """The endpoint, locked; what is changed of it is saved, and its courier learns of it within a second.

    Raises `Endpoint.DoesNotExist`.
    """
    with transaction.atomic(using=ALIAS):
        endpoint = Endpoint.objects.select_for_update().get(pk=id)
        yield endpoint
        endpoint.revision += 1
        changed = ("url", "event_types", "active", "secret_id", "previous_secret_id", "previous_until", "revision")
        endpoint.save(using=ALIAS, update_fields=changed)


def change(id: UUID, fields: dict[str, Any]) -> None:
    """Change `url`, `event_types` or `active` of an endpoint. If it is switched on, it goes on where it was."""
    with _changing(id) as endpoint:
        for name, value in fields.items():
            setattr(endpoint, name, value)
        _try_at_once(endpoint)


def rotate_secret(id: UUID) -> str:
    """A new secret. For a day deliveries are also signed by the one before, so that the receiver can change over."""
    with _changing(id) as endpoint:
        endpoint.previous_secret_id, endpoint.previous_until = endpoint.secret_id, timezone.now() + BOTH_SECRETS
        endpoint.secret_id = uuid4()
        return signatures.shown(signatures.secret(endpoint.secret_id))


def delete(id: UUID) -> None:
    Endpoint.objects.filter(pk=id).delete()


def send_again(id: UUID, by: str, deliveries: QuerySet[Delivery]) -> int:
    """Send what an endpoint has not taken at once, and then for three days; returns how many of these it is.

    Only those that are not settled: their streams wait for them.
    """
    with _changing(id) as endpoint:
        rows = list(deliveries.filter(endpoint=endpoint, status__in=Delivery.OPEN).select_for_update())
        for row in rows:
            row.status, row.first_attempt_at, row.next_attempt_at = Delivery.Status.PENDING, None, None
            row.acts = [*row.acts, _act("send again", by)]
            row.save(using=ALIAS, update_fields=["status", "first_attempt_at", "next_attempt_at", "acts"])
        _try_at_once(endpoint)
    return len(rows)


def skip(id: UUID, by: str, reason: str, deliveries: QuerySet[Delivery]) -> int:
    """Leave out what an endpoint has not taken, so that the later events of the stream are sent; returns how many."""
    with _changing(id) as endpoint:
        rows = list(deliveries.filter(endpoint=endpoint, status__in=Delivery.OPEN).select_for_update())
        for row in rows:
            row.status = Delivery.Status.SKIPPING
            row.acts = [*row.acts, _act("skip", by, reason)]
            row.save(using=ALIAS, update_fields=["status", "acts"])
    return len(rows)


def _act(act: str, by: str, reason: str = "") -> dict[str, str]:
    return {"act": act, "by": by, "at": timezone.now().isoformat(), "reason": reason}


def _try_at_once(endpoint: Endpoint) -> None:
    """Whoever changes an endpoint that fails wants to see whether that has helped."""
    endpoint.failures, endpoint.paused_until = 0, None
    endpoint.save(using=ALIAS, update_fields=["failures", "paused_until"])
    endpoint.deliveries.filter(status=Delivery.Status.PENDING).update(next_attempt_at=None)


def send_from(id: UUID, after: int) -> Place:
    """Send everything after a position of the log, in order, also what the endpoint has taken before.

    Returns the place from which it goes on: the last event at or before that position.
    """
    place = places.place_at(after)
    with transaction.atomic(using=ALIAS):
        _move(Endpoint.objects.select_for_update().get(pk=id), place)
    return place


def _move(endpoint: Endpoint, place: Place) -> None:
    """Nobody has it from then on, so its courier, if it has one, does not write its own place over this one."""
    earlier = [each for each in trail.read(endpoint.trail) if each.position < place.position]
    endpoint.position, endpoint.event_id = place
    endpoint.trail = trail.written([place, *earlier])
    endpoint.courier, endpoint.log_went_back, endpoint.revision = None, False, endpoint.revision + 1
    endpoint.failures, endpoint.paused_until, endpoint.failing_since, endpoint.last_error = 0, None, None, ""
    endpoint.save(using=ALIAS)
    endpoint.deliveries.filter(status__in=Delivery.OPEN, position__gt=place.position).delete()


def went_back() -> list[Endpoint]:
    """The endpoints that have found that the log went back, and have stopped."""
    return list(Endpoint.objects.filter(log_went_back=True, active=True))


def rewind() -> list[tuple[Endpoint, Place]]:
    """Endpoints whose place is not in the log go back to the last place of their trails that is; returns both.

    They may get events again that they have taken, and miss none.
    """
    moved = []
    for id in Endpoint.objects.values_list("pk", flat=True):
        with transaction.atomic(using=ALIAS):
            endpoint = Endpoint.objects.select_for_update().get(pk=id)
            if _has_another_log(endpoint):
                place = trail.last_shared(trail.read(endpoint.trail))
                _move(endpoint, place)
                moved.append((endpoint, place))
    return moved


def _has_another_log(endpoint: Endpoint) -> bool:
    owed = [delivery.place for delivery in endpoint.deliveries.filter(status__in=Delivery.OPEN)]
    known = {place for place in (endpoint.place, *owed) if place != Place()}
    found = places.places_at({place.position for place in known})
    return any(found.get(place.position) != place for place in known)
