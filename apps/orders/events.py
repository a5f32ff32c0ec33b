"""The published language of the orders service."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Any, ClassVar, Literal
from uuid import UUID

from apps.eventlog.events import DomainEvent
from apps.eventlog.upcasting import upcasts

Cause = Literal["requested", "customer_deactivated"]


@dataclass(frozen=True, slots=True)
class OrderLine:
    """`unit_price` is in the order's currency, with as many decimals as the currency has."""

    sku: str
    quantity: int
    unit_price: Decimal

    @property
    def amount(self) -> Decimal:
        return self.quantity * self.unit_price


@dataclass(frozen=True, slots=True)
class OrderPlaced(DomainEvent):
    customer_id: UUID
    currency: str
    lines: tuple[OrderLine, ...]

    @property
    def total(self) -> Decimal:
        return sum((line.amount for line in self.lines), Decimal(0))


@dataclass(frozen=True, slots=True)
class OrderPaid(DomainEvent):
    payment_reference: str


@dataclass(frozen=True, slots=True)
class OrderShipped(DomainEvent):
    tracking_number: str


@dataclass(frozen=True, slots=True)
class OrderDelivered(DomainEvent):
    pass


@dataclass(frozen=True, slots=True)
class OrderCancelled(DomainEvent):
    """`reason` is for people. `cause` is for programs: did somebody request it, or did it follow from another event?"""

    schema_version: ClassVar[int] = 2

    reason: str
    cause: Cause


@upcasts("orders.OrderCancelled", from_version=1)
def _with_cause(data: dict[str, Any]) -> dict[str, Any]:
    """In version 1, only the words of the reason show the cause."""
    automatic = data["reason"] == "the customer was deactivated"
    return data | {"cause": "customer_deactivated" if automatic else "requested"}
