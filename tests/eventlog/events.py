"""Events of no service, for tests of the log itself."""

from dataclasses import dataclass

from apps.eventlog.events import DomainEvent


@dataclass(frozen=True, slots=True)
class Counted(DomainEvent):
    n: int = 0


@dataclass(frozen=True, slots=True)
class Named(DomainEvent):
    name: str
