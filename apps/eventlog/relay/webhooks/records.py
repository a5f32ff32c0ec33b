"""What couriers write down: places and failures of endpoints, and deliveries, many in one transaction."""

from collections.abc import Collection, Sequence
from typing import Any
from uuid import UUID

from django.db import connections, transaction

from apps.eventlog.relay.webhooks import signatures
from apps.eventlog.relay.webhooks.models import Delivery, Endpoint
from apps.eventlog.relay.webhooks.recipient import Recipient

ALIAS = "default"
PART = 500  # endpoints in one statement

# What a courier writes of an endpoint, and of a delivery that exists; the rest belongs to people. When they have just
# changed something, it writes only how far the endpoint is: they want it tried again at once, whatever came of before.
PROGRESS = ("position", "event_id", "log_went_back", "sent", "failing_since", "last_error")
TROUBLE = ("failures", "paused_until")
TRIES = ("attempts", "first_attempt_at", "last_attempt_at", "next_attempt_at", "answer", "error")


def load(ids: Collection[UUID]) -> list[Recipient]:
    """The endpoints of these ids, with what they have not taken. Raises `data_keys.MissingKey` and `WrongKey`."""
    endpoints = list(Endpoint.objects.filter(pk__in=ids)) if ids else []
    waiting: dict[UUID, list[Delivery]] = {endpoint.pk: [] for endpoint in endpoints}
    for delivery in Delivery.objects.filter(endpoint__in=waiting, status__in=Delivery.OPEN).order_by("position"):
        waiting[delivery.endpoint_id].append(delivery)
    return [Recipient(endpoint, waiting[endpoint.pk], signatures.of(endpoint)) for endpoint in endpoints]


def write(recipients: Sequence[Recipient], courier: UUID) -> set[UUID]:
    """Write what has changed; returns the endpoints that another courier has taken over, of which nothing is written.

    Their deliveries and places change together: an event that is not taken is never behind the place and without a row.
    """
    with transaction.atomic(using=ALIAS):
        mine = _locked([recipient.endpoint.pk for recipient in recipients], courier)
        kept = [recipient for recipient in recipients if recipient.endpoint.pk in mine]
        known = [each for each in kept if mine[each.endpoint.pk] == each.endpoint.revision]
        for recipient in kept:
            _write_deliveries(recipient, changed_by_people=recipient not in known)
        _write_endpoints([recipient.endpoint for recipient in known], (*PROGRESS, *TROUBLE))
        _write_endpoints([recipient.endpoint for recipient in kept if recipient not in known], PROGRESS)
        gone = [recipient.endpoint.pk for recipient in kept if not recipient.endpoint.active]
        if gone:
            Endpoint.objects.filter(pk__in=gone).update(active=False)
    for recipient in kept:
        recipient.changed, recipient.gone, recipient.moved = [], [], False
    return {recipient.endpoint.pk for recipient in recipients} - mine.keys()


def _locked(ids: Sequence[UUID], courier: UUID) -> dict[UUID, int]:
    """Those of these endpoints that are still this courier's, with their revisions, to the end of the transaction."""
    mine: dict[UUID, int] = {}
    for start in range(0, len(ids), PART):
        rows = Endpoint.objects.filter(courier=courier, pk__in=ids[start : start + PART]).order_by("pk")
        mine |= dict(rows.select_for_update().values_list("pk", "revision"))
    return mine


def _write_deliveries(recipient: Recipient, *, changed_by_people: bool) -> None:
    for delivery in {id(delivery): delivery for delivery in recipient.changed}.values():
        if delivery.pk is None:
            delivery.save(using=ALIAS)
        elif delivery.status in (Delivery.Status.DELIVERED, Delivery.Status.SKIPPED):
            delivery.save(using=ALIAS, update_fields=[*TRIES, "status", "settled_at"])
        else:
            _write_open(delivery, changed_by_people=changed_by_people)
    gone = [delivery.pk for delivery in recipient.gone if delivery.pk is not None]
    if gone:
        Delivery.objects.filter(pk__in=gone).delete()


def _write_open(delivery: Delivery, *, changed_by_people: bool) -> None:
    """What people have decided about this very event stays."""
    names = (*TRIES, "status", "stream_version", "position", "event_id", "type", "recorded_at")
    row = Delivery.objects.filter(pk=delivery.pk)
    if changed_by_people:
        row = row.exclude(position=delivery.position)
    row.update(**{name: getattr(delivery, name) for name in names})


def write_trails(endpoints: Sequence[Endpoint], courier: UUID) -> None:
    """Write down earlier places of endpoints."""
    with transaction.atomic(using=ALIAS):
        mine = _locked([endpoint.pk for endpoint in endpoints], courier)
        _write_endpoints([endpoint for endpoint in endpoints if endpoint.pk in mine], ["trail"])


def _write_endpoints(endpoints: Sequence[Endpoint], names: Sequence[str]) -> None:
    """One prepared statement for all, because an event may go to a thousand endpoints."""
    if not endpoints:
        return
    connection = connections[ALIAS]
    fields: list[Any] = [Endpoint._meta.get_field(name) for name in names]
    key = Endpoint._meta.pk
    changes = ", ".join(f"{field.column} = %s" for field in fields)
    statement = f"UPDATE {Endpoint._meta.db_table} SET {changes} WHERE {key.column} = %s"  # noqa: S608
    rows = [
        tuple(field.get_db_prep_save(getattr(endpoint, field.attname), connection) for field in (*fields, key))
        for endpoint in endpoints
    ]
    with connection.cursor() as cursor:
        cursor.executemany(statement, rows)
