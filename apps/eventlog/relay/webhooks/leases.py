"""Which process delivers to which endpoint: each courier takes its share, and what a courier that died has left.

A courier says every second that it is alive. If it cannot say so in time, others may have taken its endpoints. So it
stops sending before that, and comes back under another name.
"""

import time
from collections import defaultdict
from collections.abc import Collection
from datetime import timedelta
from typing import NamedTuple
from uuid import UUID, uuid4

from django.db.models import Q
from django.db.models.functions import Now

from apps.eventlog.relay.webhooks.models import Courier, Endpoint

BEAT = 1.0  # seconds between two signs of life
ALIVE = 5.0  # seconds after a sign of life for which the endpoints of a courier are its own
MARGIN = 1.5  # seconds before that end at which a courier stops sending


class Share(NamedTuple):
    """Endpoints that this courier has taken over now, and how many it should give to others."""

    taken_over: list[UUID]
    surplus: int


class Lease:
    """One courier's hold on its endpoints."""

    def __init__(self) -> None:
        self.courier = uuid4()
        self._renewed = 0.0

    @property
    def holds(self) -> bool:
        """May this courier still send?"""
        return time.monotonic() < self._renewed + ALIVE - MARGIN

    def renew(self) -> None:
        """A sign of life. All clocks here are the database's; how long the lease holds is measured from before it."""
        before = time.monotonic()
        until = Now() + timedelta(seconds=ALIVE)
        if not Courier.objects.filter(pk=self.courier).update(alive_until=until):
            Courier.objects.create(pk=self.courier, alive_until=until)
        self._renewed = before

    def share(self, owned: int) -> Share:
        """Take over endpoints that no living courier has, up to this courier's share of all."""
        alive = set(Courier.objects.filter(alive_until__gt=Now()).values_list("pk", flat=True)) | {self.courier}
        fair = -(-Endpoint.objects.filter(active=True).count() // len(alive))
        free = Endpoint.objects.filter(active=True).exclude(courier__in=alive)
        found = free.values_list("pk", "courier")[: max(0, fair - owned)]
        return Share(self._take_over(list(found)), max(0, owned - fair))

    def _take_over(self, found: Collection[tuple[UUID, UUID | None]]) -> list[UUID]:
        """Each endpoint only if it is still where it was: another courier may be as quick."""
        by_former = defaultdict(list)
        for endpoint, former in found:
            by_former[former].append(endpoint)
        for former, endpoints in by_former.items():
            unchanged = Q(courier__isnull=True) if former is None else Q(courier=former)
            Endpoint.objects.filter(unchanged, pk__in=endpoints).update(courier=self.courier)
        mine = Endpoint.objects.filter(courier=self.courier, pk__in=[endpoint for endpoint, _ in found])
        return list(mine.values_list("pk", flat=True))

    def give_up(self, endpoints: Collection[UUID]) -> None:
        Endpoint.objects.filter(courier=self.courier, pk__in=endpoints).update(courier=None)

    def end(self) -> None:
        """Leave everything to others."""
        Endpoint.objects.filter(courier=self.courier).update(courier=None)
        Courier.objects.filter(Q(pk=self.courier) | Q(alive_until__lt=Now() - timedelta(hours=1))).delete()
        self._renewed = 0.0
