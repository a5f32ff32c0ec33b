"""Deletes what has expired: answers kept for an Idempotency-Key, tokens, sessions, deliveries of webhooks, and tables
of killed rebuilds.
"""

from typing import Any

from django.conf import settings
from django.contrib.sessions.models import Session
from django.db.models import QuerySet
from django.utils import timezone
from knox.models import AuthToken

from apps.eventlog.models import IdempotencyRecord
from apps.eventlog.relay.webhooks import endpoints
from apps.eventlog.relay.webhooks.models import Delivery
from apps.eventlog.replay.leftovers import drop_leftovers

BATCH = 1000  # rows in one transaction: an append would wait for a longer one


def clear() -> dict[str, int]:
    """Delete what has expired, and drop what killed rebuilds have left. Returns how many rows of each kind are gone."""
    drop_leftovers()
    now = timezone.now()
    return {
        "answers": _delete(IdempotencyRecord.objects.filter(started_at__lt=now - settings.IDEMPOTENCY_KEPT)),
        "tokens": _delete(AuthToken.objects.filter(expiry__lt=now)),
        "sessions": _delete(Session.objects.filter(expire_date__lt=now)),
        "deliveries": _delete(Delivery.objects.filter(settled_at__lt=now - endpoints.KEPT)),
    }


def _delete(rows: QuerySet[Any]) -> int:
    count = 0
    while batch := list(rows.values_list("pk", flat=True)[:BATCH]):
        count += rows.filter(pk__in=batch).delete()[0]
    return count
