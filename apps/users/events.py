"""The published language of the users service."""

from dataclasses import dataclass

from apps.eventlog.events import DomainEvent


@dataclass(frozen=True, slots=True)
class UserRegistered(DomainEvent):
    email: str
    name: str


@dataclass(frozen=True, slots=True)
class UserRenamed(DomainEvent):
    name: str


@dataclass(frozen=True, slots=True)
class UserEmailChanged(DomainEvent):
    email: str


@dataclass(frozen=True, slots=True)
class UserDeactivated(DomainEvent):
    reason: str


@dataclass(frozen=True, slots=True)
class UserReactivated(DomainEvent):
    pass
