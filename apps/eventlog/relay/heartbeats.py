"""What the relays tell about themselves: a row each in the log's database, for those who look from here.

A relay keeps its place where the events go. So these rows may be late or lost, and no relay reads them.
"""

from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

from django.db import Error
from django.utils import timezone

from apps.eventlog import store
from apps.eventlog.database.lock_timeout import Locked, lock_timeout
from apps.eventlog.events import Place
from apps.eventlog.log import places
from apps.eventlog.log.engine import ALIAS
from apps.eventlog.models import Relay
from apps.eventlog.relay.cloud_events import Only

ALIVE = timedelta(seconds=20)  # without a heartbeat for so long, a relay does not run
LONGEST_TARGET, LONGEST_ERROR = 400, 500  # characters
GIVE_WAY = 0.2  # seconds for which a heartbeat waits for another writer of SQLite; appends come first


def beat(target: str, only: Only, place: Place | None, error: str = "") -> None:
    """A relay says how far it is, if it knows, and what keeps it from going on. If nobody can hear it, it goes on."""
    said: dict[str, Any] = {"only": only, "beat_at": timezone.now(), "error": error[:LONGEST_ERROR]}
    if place is not None:
        said |= {"position": place.position, "event_id": place.event_id}
    with suppress(Error, Locked), lock_timeout(ALIAS, GIVE_WAY):
        Relay.objects.update_or_create(target=target[:LONGEST_TARGET], defaults=said)


def runs(relay: Relay) -> bool:
    """Has it told of itself lately?"""
    return timezone.now() - relay.beat_at < ALIVE


def went_back() -> list[str]:
    """The targets of relays that have sent events which are not in the log, whether they run or not."""
    return [relay.target for relay in Relay.objects.all() if not _is_in_log(relay)]


def _is_in_log(relay: Relay) -> bool:
    return places.has(Place(relay.position, relay.event_id))


def relays() -> list[dict[str, Any]]:
    """Of each relay that is known: target, whether it runs, position, lag, and what is wrong with it."""
    now = timezone.now()
    return [
        {
            "name": relay.target,
            "running": runs(relay),
            "position": relay.position,
            "lag_events": store.count(after=relay.position, **relay.only),
            "lag_seconds": _waiting(relay, now),
            "log_went_back": not _is_in_log(relay),
            "beat_at": relay.beat_at,
            "error": relay.error,
        }
        for relay in Relay.objects.all()
    ]


def _waiting(relay: Relay, now: datetime) -> float:
    """How long the oldest event that the relay has yet to send has been in the log, in seconds."""
    oldest = next(store.read_all(after=relay.position, limit=1, encrypted=True, **relay.only), None)
    return max(0.0, (now - oldest.recorded_at).total_seconds()) if oldest else 0.0
