"""The tables of webhooks: who receives events, what an endpoint has not taken yet, and which processes deliver."""

from typing import ClassVar

from django.db import models
from django.db.models import Q

from apps.eventlog.events import Place
from apps.eventlog.models import Instant


class Endpoint(models.Model):
    """A URL to which events are sent, signed, each stream in order.

    Everything at or before its place, the event `event_id` at `position`, was taken, is not wanted, or waits in the
    stream of a `Delivery`.
    """

    id = models.UUIDField(primary_key=True)
    url = models.TextField()
    event_types = models.JSONField(default=list)  # an empty list means all
    active = models.BooleanField(default=True)
    created_at = Instant()
    # Names the secret, which is derived from it by a key in `keys`; what is here opens nothing.
    secret_id = models.UUIDField()
    previous_secret_id = models.UUIDField(null=True)
    previous_until = Instant(null=True)  # until then deliveries are signed by the secret before as well
    position = models.BigIntegerField()
    event_id = models.UUIDField(null=True)
    trail = models.JSONField(default=list)  # earlier places, newest first, see trail.py
    log_went_back = models.BooleanField(default=False)
    sent = models.PositiveBigIntegerField(default=0)  # events that it has taken
    failures = models.PositiveIntegerField(default=0)  # of different streams, in a row
    failing_since = Instant(null=True)
    last_error = models.TextField(default="")
    paused_until = Instant(null=True)
    courier = models.UUIDField(null=True, db_index=True)  # who delivers, see leases.py
    revision = models.PositiveIntegerField(default=0)  # counts what people change, so that its courier reads it again

    class Meta:
        ordering = ["id"]  # in the order in which they were made, because an id is a UUIDv7

    def __str__(self) -> str:
        return self.url

    @property
    def place(self) -> Place:
        return Place(self.position, self.event_id)


class Delivery(models.Model):
    """An event that an endpoint did not take at once. The later events of its stream wait behind it.

    An endpoint has at most one of a stream that is open. A row stays for a while after it is settled. An event that was
    taken at the first attempt has no row.
    """

    class Status(models.TextChoices):
        PENDING = "pending", "pending"  # will be sent again
        SET_ASIDE = "set aside", "set aside"  # tried for three days: a dead letter, until somebody decides
        SKIPPING = "to be skipped", "to be skipped"  # somebody has decided, and its courier has yet to see that
        DELIVERED = "delivered", "delivered"
        SKIPPED = "skipped", "skipped"

    OPEN: ClassVar = (Status.PENDING, Status.SET_ASIDE, Status.SKIPPING)

    endpoint = models.ForeignKey(Endpoint, models.CASCADE, related_name="deliveries")
    stream = models.CharField(max_length=200)
    stream_version = models.PositiveIntegerField()
    position = models.BigIntegerField()
    event_id = models.UUIDField()
    type = models.CharField(max_length=200)
    recorded_at = Instant()
    status = models.CharField(max_length=15, choices=Status, default=Status.PENDING)
    attempts = models.PositiveIntegerField(default=0)
    first_attempt_at = Instant(null=True)
    last_attempt_at = Instant(null=True)
    next_attempt_at = Instant(null=True)  # of a pending one, None is at once
    answer = models.PositiveSmallIntegerField(null=True)  # the status of the last answer, None if there was none
    error = models.TextField(default="")
    settled_at = Instant(null=True)
    acts = models.JSONField(default=list)  # what people did, oldest first: {act, by, at, reason}

    class Meta:
        ordering = ["-id"]
        verbose_name_plural = "deliveries"
        constraints = [
            models.UniqueConstraint(
                fields=["endpoint", "stream"],
                condition=Q(status__in=["pending", "set aside", "to be skipped"]),
                name="webhooks_delivery_open_once",
            )
        ]
        indexes = [
            models.Index(fields=["endpoint", "status"], name="webhooks_delivery_status"),
            models.Index(fields=["settled_at"], name="webhooks_delivery_settled"),
        ]

    def __str__(self) -> str:
        return f"{self.type} at {self.position}"

    @property
    def place(self) -> Place:
        return Place(self.position, self.event_id)


class Courier(models.Model):
    """A process that delivers; its endpoints are free for others once `alive_until` has passed."""

    id = models.UUIDField(primary_key=True)
    alive_until = Instant()

    def __str__(self) -> str:
        return str(self.id)
