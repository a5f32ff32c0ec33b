"""The read models of the orders service, and the checkpoints and dead letters of its projectors and reactors.

Money is stored as a decimal string, because that is exact on every engine.
"""

from typing import ClassVar

from django.db import models

from apps.eventlog import models as eventlog

MONEY = 40  # characters; 500 lines of a million pieces, with prices of 12 digits, and the sums of many orders fit


class Order(models.Model):
    """An order, with the history of events and a time slider."""

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
            models.Index(fields=["payment_reference"], name="orders_order_payment"),
        ]

    def __str__(self) -> str:
        return f"{self.id} {self.status} {self.total} {self.currency}"


class Customer(models.Model):
    """The copy of a user that the orders service has: the name to show, and whether the user may order."""

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
    """The number and revenue of the orders placed on one day in one currency, without cancelled orders."""

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
    """What an order has added to the summary. If the order is cancelled, this is subtracted again."""

    order_id = models.UUIDField(primary_key=True)
    key = models.CharField(max_length=20)
    total = models.CharField(max_length=MONEY)

    def __str__(self) -> str:
        return f"{self.order_id} in {self.key}"


class Checkpoint(eventlog.Checkpoint):
    pass


class DeadLetter(eventlog.DeadLetter):
    pass
