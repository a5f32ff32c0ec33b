"""Events of no service, for tests of the log itself."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, ClassVar
from uuid import UUID

from apps.eventlog.events import DomainEvent, Personal


@dataclass(frozen=True, slots=True)
class Counted(DomainEvent):
    n: int = 0


@dataclass(frozen=True, slots=True)
class Named(DomainEvent):
    name: str


@dataclass(frozen=True, slots=True)
class ParcelSent(DomainEvent):
    """About the person whom a field names, in the stream of something else."""

    subject: ClassVar[str] = "customer_id"

    customer_id: UUID
    address: Personal[str]


@dataclass(frozen=True, slots=True)
class Parcel:
    grams: int
    price: Decimal


@dataclass(frozen=True, slots=True)
class Weighed(DomainEvent):
    """With a field of every type that an event may have."""

    kilograms: Decimal
    at: datetime
    ratio: float = 0.5
    fragile: bool = False
    label: str | None = None
    by: UUID | None = None
    parcels: tuple[Parcel, ...] = ()
    notes: dict[str, Any] | None = None

    def check(self) -> None:
        if self.kilograms < 0:
            raise ValueError("nothing weighs less than nothing")
