"""What somebody wants: commands, who sends them, and what came of one."""

import re
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self
from uuid import UUID


class Command:
    """Base of every command: a frozen dataclass in a service's `write/commands.py`.

    `permission` is what a member of staff needs to send it: `orders.change_order`.
    """

    __slots__ = ()
    permission: ClassVar[str] = ""


def _none(permission: str) -> bool:
    return False


def _all(permission: str) -> bool:
    return True


@dataclass(frozen=True, slots=True)
class Actor:
    """Who sends a command: a customer by user id, a member of staff or the system by name.

    `has_perm` answers whether a member of staff has a permission. `key` is the number of a login of staff.
    """

    name: str
    is_staff: bool = False
    has_perm: Callable[[str], bool] = field(default=_none, compare=False, repr=False)
    key: int | None = field(default=None, compare=False, repr=False)

    @classmethod
    def customer(cls, user_id: UUID) -> Self:
        return cls(str(user_id))

    @classmethod
    def of(cls, login: Any) -> Self:
        """Whom a login of Django's auth stands for. A customer's username is their user id."""
        return cls(login.get_username(), login.is_staff, login.has_perm, login.pk if login.is_staff else None)

    @classmethod
    def operator(cls, name: str) -> Self:
        """Somebody with a shell on the machine. They have every permission, since they can reach the databases."""
        return cls(name, is_staff=True, has_perm=_all)

    def may(self, permission: str) -> bool:
        """Has this actor the permission? Only staff have permissions; `owns` says what a customer may do."""
        return self.is_staff and self.has_perm(permission)

    def owns(self, owner: UUID | None) -> bool:
        """True for staff, and for the customer whose user id this is."""
        return self.is_staff or (owner is not None and self.name == str(owner))

    @property
    def pseudonym(self) -> str:
        """What log lines call this actor, which is never a name that a person has chosen."""
        if self.is_staff and self.key is None:
            return "system" if self == SYSTEM else "operator"
        return pseudonym(self.name, self.key)


def pseudonym(username: str, key: int | None) -> str:
    """What log lines call a login: a customer by the user id, staff by the `key`, the number of their login."""
    if key is not None:
        return f"staff-{key}"
    return username if _USER_ID.fullmatch(username) else "somebody"


_USER_ID = re.compile(r"[0-9a-fA-F-]{32,36}")

SYSTEM = Actor.operator("system")


@dataclass(frozen=True, slots=True)
class Request:
    """How a command was sent: who sent it, what its events carry along, and the version that makes it conditional."""

    actor: Actor
    metadata: dict[str, Any]
    expected_version: int | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """Where a command ended: the stream, its version, and the position of its last event.

    `categories` and `types` are those of all events that the command appended; both are empty if it appended none.
    """

    stream: str = ""
    version: int = 0
    position: int = 0
    categories: frozenset[str] = frozenset()
    types: frozenset[str] = frozenset()


request: ContextVar[Request] = ContextVar("request")
"""The request of the command that is being handled. `dispatch` sets it, `repository` reads it."""

outcome: ContextVar[Outcome] = ContextVar("outcome")
"""The outcome so far of the command that is being handled. `repository` sets it, `dispatch` reads it."""
