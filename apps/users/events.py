"""The published language of the users service."""

from dataclasses import dataclass
from typing import ClassVar

from apps.eventlog.events import DomainEvent, Personal


@dataclass(frozen=True, slots=True)
class UserRegistered(DomainEvent):
    email: Personal[str]
    name: Personal[str]


@dataclass(frozen=True, slots=True)
class UserRenamed(DomainEvent):
    name: Personal[str]


@dataclass(frozen=True, slots=True)
class UserEmailChanged(DomainEvent):
    email: Personal[str]


@dataclass(frozen=True, slots=True)
class UserDeactivated(DomainEvent):
    reason: Personal[str]


@dataclass(frozen=True, slots=True)
class UserReactivated(DomainEvent):
    pass


@dataclass(frozen=True, slots=True)
class UserErased(DomainEvent):
    """After this, nothing about the person can be read. `reason` stays, so it must say nothing personal."""

    erases: ClassVar[bool] = True
    reason: str
