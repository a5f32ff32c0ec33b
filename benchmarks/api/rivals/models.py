"""The same order as a plain Django model, and once more with django-simple-history."""

import uuid
from typing import ClassVar

from django.db import models
from simple_history.models import HistoricalRecords


class Customer(models.Model):
    objects: ClassVar[models.Manager["Customer"]]

    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    name = models.CharField(max_length=200)

    def __str__(self) -> str:
        return self.name


class AbstractOrder(models.Model):
    """The columns of Headrace's order and their indexes; the lines are one JSON column here too."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    customer = models.ForeignKey(Customer, on_delete=models.PROTECT, db_index=False)  # the index of a pair serves
    status = models.CharField(max_length=10, default="placed")
    currency = models.CharField(max_length=3)
    total = models.CharField(max_length=40)
    lines = models.JSONField()
    payment_reference = models.CharField(max_length=200, default="", blank=True)
    tracking_number = models.CharField(max_length=200, default="", blank=True)
    cancel_reason = models.CharField(max_length=500, default="", blank=True)
    placed_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        abstract = True
        ordering = ["-placed_at", "-id"]
        indexes = [
            models.Index(fields=["placed_at", "id"]),
            models.Index(fields=["updated_at", "id"]),
            models.Index(fields=["status", "placed_at", "id"]),
            models.Index(fields=["customer", "placed_at", "id"]),
            models.Index(fields=["currency", "placed_at", "id"]),
        ]

    def __str__(self) -> str:
        return str(self.pk)


class PlainOrder(AbstractOrder):
    pass


class TrackedOrder(AbstractOrder):
    history = HistoricalRecords()
