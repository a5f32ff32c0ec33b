"""The endpoints of one courier: taken over, read again if people have changed them, and given up."""

import logging
import time
from collections.abc import Collection, Iterable
from uuid import UUID

from django.utils import timezone

from apps.eventlog.encryption.data_keys import MissingKey, WrongKey
from apps.eventlog.events import Place
from apps.eventlog.log import places
from apps.eventlog.relay.webhooks import records, trail
from apps.eventlog.relay.webhooks.leases import Lease
from apps.eventlog.relay.webhooks.models import Endpoint
from apps.eventlog.relay.webhooks.recipient import Recipient

logger = logging.getLogger(__name__)

HAND_OVER = 5.0  # seconds for which an endpoint that is given up is still sent what was read for it


class LeaseLost(Exception):
    """This courier has given no sign of life for too long, so others may have taken over its endpoints."""


class Roster:
    """`recipients` are the endpoints to which this courier delivers, by id."""

    def __init__(self) -> None:
        self.lease = Lease()
        self.recipients: dict[UUID, Recipient] = {}
        self._stopped: dict[UUID, Place] = {}  # endpoints of this courier whose place the log did not have
        self._leaving: dict[UUID, float] = {}  # when each of these is given up, whatever is on its way

    def beat(self) -> None:
        """A sign of life, and what has changed since the last one. Raises `LeaseLost`."""
        if not (self.recipients or self._stopped or Endpoint.objects.filter(active=True).exists()):
            return
        if (self.recipients or self._stopped) and not self.lease.holds:
            raise LeaseLost
        self.lease.renew()
        share = self.lease.share(len(self.recipients) + len(self._stopped) - len(self._leaving))
        self._take_on(share.taken_over)
        idle_first = sorted(self.recipients.values(), key=lambda each: not each.is_idle)
        self._leave([each.endpoint.pk for each in idle_first if not each.leaving][: share.surplus])
        self._refresh()
        self._resume()
        self._give_up()

    def write(self, recipients: Iterable[Recipient]) -> None:
        """Write down what these have taken; forget those that another courier has taken over."""
        found = list(recipients)
        for each in found:
            each.endpoint.position, each.endpoint.event_id = each.window.place
        for lost in records.write(found, self.lease.courier) if found else ():
            self._forget(lost)

    def remember(self) -> None:
        """Write down the places of endpoints to which nothing was sent, and earlier places of all."""
        moved = [each for each in self.recipients.values() if each.window.place != each.endpoint.place]
        self.write(moved)
        endpoints = [each.endpoint for each in self.recipients.values()]
        further = [endpoint for endpoint in endpoints if trail.extend(endpoint)]
        if further:
            records.write_trails(further, self.lease.courier)

    def leave_all(self) -> None:
        self._leave([pk for pk, each in self.recipients.items() if not each.leaving])

    def end(self) -> None:
        """Give everything up."""
        self.lease.end()
        self.recipients.clear()

    def _take_on(self, ids: Collection[UUID]) -> None:
        try:
            loaded = records.load(ids)
        except (MissingKey, WrongKey) as error:
            logger.error("webhooks cannot be signed: %s", error)
            Endpoint.objects.filter(pk__in=ids).update(last_error=f"cannot be signed: {error}")
            self.lease.give_up(ids)
            return
        for recipient in loaded:
            endpoint = recipient.endpoint
            if endpoint.log_went_back:
                self._stopped[endpoint.pk] = endpoint.place
            else:
                self.recipients[endpoint.pk] = recipient

    def _leave(self, ids: Iterable[UUID]) -> None:
        for id in ids:
            self.recipients[id].leaving = True
            self._leaving[id] = time.monotonic() + HAND_OVER

    def _give_up(self) -> None:
        """Those that are to be left and of which nothing is on its way, or for which that takes too long."""
        now, moment = timezone.now(), time.monotonic()
        ready = []
        for id, deadline in self._leaving.items():
            each = self.recipients[id]
            quiet = each.is_quiet(now) and not each.on_their_way
            if each.is_idle or quiet or moment > deadline:
                each.stopped = True
                ready.append(each)
        self.write(ready)
        self.lease.give_up([each.endpoint.pk for each in ready])
        for each in ready:
            self._forget(each.endpoint.pk)

    def _refresh(self) -> None:
        """What people have changed: read it again. What is not active any more is left, and what is gone forgotten."""
        rows = Endpoint.objects.filter(courier=self.lease.courier)
        known = {pk: (revision, active) for pk, revision, active in rows.values_list("pk", "revision", "active")}
        for id in [id for id in (*self.recipients, *self._stopped) if id not in known]:
            self._forget(id)
        self._leave(
            [
                pk
                for pk, (_, active) in known.items()
                if pk in self.recipients and not active and pk not in self._leaving
            ]
        )
        changed = [id for id, each in self.recipients.items() if known[id][0] != each.endpoint.revision]
        for fresh in records.load(changed):
            deliveries = [held.delivery for held in fresh.held.values()]
            self.recipients[fresh.endpoint.pk].refresh(fresh.endpoint, deliveries, fresh.secrets)

    def _resume(self) -> None:
        """An endpoint goes on if the log has its place again, because the right backup was restored."""
        found = [id for id, place in self._stopped.items() if places.has(place)]
        Endpoint.objects.filter(pk__in=found).update(log_went_back=False, last_error="", failing_since=None)
        for id in found:
            del self._stopped[id]
        self._take_on(found)
        for id, each in list(self.recipients.items()):
            if each.endpoint.log_went_back and not (each.moved or each.on_their_way):
                self._stopped[id] = each.endpoint.place
                del self.recipients[id]
                self._leaving.pop(id, None)

    def _forget(self, id: UUID) -> None:
        for known in (self.recipients, self._stopped, self._leaving):
            known.pop(id, None)
