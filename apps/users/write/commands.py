"""The commands of the users service."""

from dataclasses import dataclass
from typing import ClassVar
from uuid import UUID

from apps.eventlog.commands import Command
from apps.eventlog.events import Personal


@dataclass(frozen=True, slots=True)
class RegisterUser(Command):
    permission: ClassVar[str] = "users.change_user"
    user_id: UUID
    email: Personal[str]
    name: Personal[str]


@dataclass(frozen=True, slots=True)
class RenameUser(Command):
    permission: ClassVar[str] = "users.change_user"
    user_id: UUID
    name: Personal[str]


@dataclass(frozen=True, slots=True)
class ChangeEmail(Command):
    permission: ClassVar[str] = "users.change_user"
    user_id: UUID
    email: Personal[str]


@dataclass(frozen=True, slots=True)
class DeactivateUser(Command):
    permission: ClassVar[str] = "users.change_user"
    user_id: UUID
    reason: Personal[str]


@dataclass(frozen=True, slots=True)
class ReactivateUser(Command):
    permission: ClassVar[str] = "users.change_user"
    user_id: UUID


@dataclass(frozen=True, slots=True)
class EraseUser(Command):
    permission: ClassVar[str] = "users.erase_user"
    user_id: UUID
    reason: str
