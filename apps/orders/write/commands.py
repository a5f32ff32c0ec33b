"""The commands of the orders service."""

from dataclasses import dataclass
from typing import ClassVar
from uuid import UUID

from apps.eventlog.commands import Command
from apps.orders.events import Cause, OrderLine


@dataclass(frozen=True, slots=True)
class PlaceOrder(Command):
    permission: ClassVar[str] = "orders.change_order"
    order_id: UUID
    customer_id: UUID
    currency: str
    lines: tuple[OrderLine, ...]


@dataclass(frozen=True, slots=True)
class PayOrder(Command):
    permission: ClassVar[str] = "orders.change_order"
    order_id: UUID
    payment_reference: str


@dataclass(frozen=True, slots=True)
class ShipOrder(Command):
    permission: ClassVar[str] = "orders.change_order"
    order_id: UUID
    tracking_number: str


@dataclass(frozen=True, slots=True)
class DeliverOrder(Command):
    permission: ClassVar[str] = "orders.change_order"
    order_id: UUID


@dataclass(frozen=True, slots=True)
class CancelOrder(Command):
    permission: ClassVar[str] = "orders.change_order"
    order_id: UUID
    reason: str


@dataclass(frozen=True, slots=True)
class CancelUnpaidOrder(Command):
    """Cancel the order if it is still unpaid; otherwise leave it as it is."""

    permission: ClassVar[str] = "orders.change_order"
    order_id: UUID
    reason: str
    cause: Cause
