"""Two events of the same shape: one is about nobody, the other about a person."""

from dataclasses import dataclass

from apps.eventlog.events import DomainEvent, Personal


@dataclass(frozen=True, slots=True)
class Noted(DomainEvent):
    first: str
    second: str


@dataclass(frozen=True, slots=True)
class NotedPrivately(DomainEvent):
    first: Personal[str]
    second: Personal[str]
