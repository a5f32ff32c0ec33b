"""The read models of the orders service, and how far its readers have come.

Money is kept as a decimal string: exact on every engine, whatever its size.
"""

from typing import ClassVar

from django.db import models

from apps.eventlog import models as eventlog

MONEY = 40  # digits, sign and point: 500 lines of 12 digits times a million, and their sums


class Order(models.Model):
    """An order as its events leave it, with its history and a time slider."""

    class Status(models.TextChoices):
        PLACED = "placed", "placed"
        PAID = "paid", "paid"
        SHIPPED = "shipped", "shipped"
        DELIVERED = "delivered", "delivered"
        CANCELLED = "cancelled", "cancelled"

    subject_field: ClassVar[str] = "customer_id"

    id = models.UUIDField(primary_key=True)
    version = models.PositiveIntegerField()
    customer_id = models.UUIDField()
    status = models.CharField(max_length=10, choices=Status)
    currency = models.CharField(max_length=3)
    total = models.CharField(max_length=MONEY)
    lines = models.JSONField(help_text="list of {sku, quantity, unit_price, amount}")
    payment_reference = models.CharField(max_length=200, default="")
    tracking_number = models.CharField(max_length=200, default="")
    cancel_reason = models.CharField(max_length=500, default="")
    placed_at = models.DateTimeField()
    placed_position = models.BigIntegerField()
    updated_at = models.DateTimeField()

    class Meta:
        ordering = ["-placed_at", "-id"]
        indexes = [
            models.Index(fields=["placed_at", "id"], name="orders_order_placed"),
            models.Index(fields=["updated_at", "id"], name="orders_order_updated"),
            models.Index(fields=["status", "placed_at", "id"], name="orders_order_status"),
            models.Index(fields=["customer_id", "placed_at", "id"], name="orders_order_customer"),
            models.Index(fields=["currency", "placed_at", "id"], name="orders_order_currency"),
        ]

    def __str__(self) -> str:
        return f"{self.id} {self.status} {self.total} {self.currency}"


class Customer(models.Model):
    """What orders knows of a user: the name to show and whether they may order."""

    subject_field: ClassVar[str] = "id"

    id = models.UUIDField(primary_key=True)
    version = models.PositiveIntegerField()
    name = models.CharField(max_length=200)
    active = models.BooleanField()
    updated_at = models.DateTimeField()

    class Meta:
        ordering = ["-updated_at", "-id"]
        indexes = [models.Index(fields=["updated_at", "id"], name="orders_customer_updated")]

    def __str__(self) -> str:
        return self.name


class OrderSummary(models.Model):
    """Orders and revenue of one day of placing, in one currency, without cancelled orders."""

    key = models.CharField(max_length=20, primary_key=True, help_text="day and currency: 2026-11-23 EUR")
    day = models.DateField()
    currency = models.CharField(max_length=3)
    orders = models.PositiveIntegerField()
    revenue = models.CharField(max_length=MONEY)

    class Meta:
        ordering = ["-key"]
        verbose_name_plural = "order summaries"

    def __str__(self) -> str:
        return self.key


class SummarizedOrder(models.Model):
    """What an order adds to the summary, kept to take it out again when the order is cancelled."""

    order_id = models.UUIDField(primary_key=True)
    key = models.CharField(max_length=20)
    total = models.CharField(max_length=MONEY)

    def __str__(self) -> str:
        return f"{self.order_id} in {self.key}"


class Checkpoint(eventlog.Checkpoint):
    pass


class DeadLetter(eventlog.DeadLetter):
    pass
