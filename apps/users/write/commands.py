"""The commands of the users service."""

from dataclasses import dataclass
from uuid import UUID

from apps.eventlog.commands import Command


@dataclass(frozen=True, slots=True)
class RegisterUser(Command):
    user_id: UUID
    email: str
    name: str


@dataclass(frozen=True, slots=True)
class RenameUser(Command):
    user_id: UUID
    name: str


@dataclass(frozen=True, slots=True)
class ChangeEmail(Command):
    user_id: UUID
    email: str


@dataclass(frozen=True, slots=True)
class DeactivateUser(Command):
    user_id: UUID
    reason: str


@dataclass(frozen=True, slots=True)
class ReactivateUser(Command):
    user_id: UUID


@dataclass(frozen=True, slots=True)
class EraseUser(Command):
    user_id: UUID
    reason: str
