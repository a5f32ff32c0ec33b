"""The published language of the orders service."""

import math
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, ClassVar, Literal
from uuid import UUID

import iso4217

from apps.eventlog.events import DomainEvent
from apps.eventlog.upcasting import upcasts

MOST_LINES, MOST_PIECES, DEAREST = 500, 1_000_000, Decimal(10) ** 12  # so that every sum has its exact digits
LONGEST_TEXT, LONGEST_REASON = 200, 500  # characters

Cause = Literal["requested", "customer_deactivated", "payment_deadline"]

# The decimals of each currency of ISO 4217 that has amounts, and one unit of its last decimal.
CURRENCIES = {each.code: each.exponent for each in iso4217.Currency if each.exponent is not None}
_UNITS = {code: Decimal(1).scaleb(-places) for code, places in CURRENCIES.items()}


def is_money(amount: Decimal, currency: str) -> bool:
    """Is this an amount of the currency: finite, 0 or more, in digits, with no more decimals than the currency has?"""
    # Most amounts have all decimals of the currency; to look at the exponent takes several times as long.
    exact = amount.same_quantum(_UNITS[currency])
    return (exact or -CURRENCIES[currency] <= _exponent(amount) <= 0) and not amount.is_signed()


def _exponent(amount: Decimal) -> float:
    exponent = amount.as_tuple().exponent
    return exponent if isinstance(exponent, int) else math.inf  # NaN and the infinities have none


def _check_length(text: str, most: int) -> None:
    if len(text) > most:
        raise ValueError(f"a text has at most {most} characters here, not {len(text):,}")


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

    def check(self) -> None:
        if self.currency not in CURRENCIES:
            raise ValueError("a currency is one of ISO 4217, as in EUR")
        if len(self.lines) > MOST_LINES:
            raise ValueError(f"an order has at most {MOST_LINES} lines")
        for line in self.lines:
            if not 1 <= line.quantity <= MOST_PIECES:
                raise ValueError(f"a quantity is 1 or more, up to {MOST_PIECES:,}")
            if not is_money(line.unit_price, self.currency) or line.unit_price >= DEAREST:
                places = CURRENCIES[self.currency]
                raise ValueError(
                    f"a price in {self.currency} is 0 or more and below {DEAREST:,}, in digits with at most {places} "
                    "decimals"
                )

    @property
    def total(self) -> Decimal:
        return sum((line.amount for line in self.lines), Decimal(0))


@dataclass(frozen=True, slots=True)
class OrderPaid(DomainEvent):
    payment_reference: str

    def check(self) -> None:
        _check_length(self.payment_reference, LONGEST_TEXT)


@dataclass(frozen=True, slots=True)
class OrderShipped(DomainEvent):
    tracking_number: str

    def check(self) -> None:
        _check_length(self.tracking_number, LONGEST_TEXT)


@dataclass(frozen=True, slots=True)
class OrderDelivered(DomainEvent):
    pass


@dataclass(frozen=True, slots=True)
class OrderCancelled(DomainEvent):
    """`reason` is for people. `cause` is for programs: did somebody request it, or did it follow from another event?"""

    schema_version: ClassVar[int] = 3

    reason: str
    cause: Cause

    def check(self) -> None:
        _check_length(self.reason, LONGEST_REASON)


@upcasts("orders.OrderCancelled", from_version=1)
def _with_cause(data: dict[str, Any]) -> dict[str, Any]:
    """In version 1, only the words of the reason show the cause."""
    automatic = data["reason"] == "the customer was deactivated"
    return data | {"cause": "customer_deactivated" if automatic else "requested"}


@upcasts("orders.OrderCancelled", from_version=2)
def _with_deadline(data: dict[str, Any]) -> dict[str, Any]:
    """Version 3 knows one more cause; those of version 2 stay what they were."""
    return data
