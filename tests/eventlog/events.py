"""Events of no service, for tests of the log itself."""

from dataclasses import dataclass
from typing import ClassVar
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
