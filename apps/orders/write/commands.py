"""The commands of the orders service."""

from dataclasses import dataclass
from uuid import UUID

from apps.eventlog.commands import Command
from apps.orders.events import Cause, OrderLine


@dataclass(frozen=True, slots=True)
class PlaceOrder(Command):
    order_id: UUID
    customer_id: UUID
    currency: str
    lines: tuple[OrderLine, ...]


@dataclass(frozen=True, slots=True)
class PayOrder(Command):
    order_id: UUID
    payment_reference: str


@dataclass(frozen=True, slots=True)
class ShipOrder(Command):
    order_id: UUID
    tracking_number: str


@dataclass(frozen=True, slots=True)
class DeliverOrder(Command):
    order_id: UUID


@dataclass(frozen=True, slots=True)
class CancelOrder(Command):
    order_id: UUID
    reason: str


@dataclass(frozen=True, slots=True)
class CancelUnpaidOrder(Command):
    """Cancel the order if it is still unpaid; otherwise leave it as it is."""

    order_id: UUID
    reason: str
    cause: Cause
