"""What somebody wants: commands, who sends them, and what came of one."""

import hashlib
import re
from collections import Counter
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any, ClassVar, Self
from uuid import UUID

import msgspec


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
    """How a command was sent: who sent it, what its events carry along, and the version that makes it conditional.

    If the command has an `id`, the ids of its events follow from that, so that it takes effect once.
    """

    actor: Actor
    metadata: dict[str, Any]
    expected_version: int | None = None
    id: UUID | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """Where a command ended: the stream, its version, and the position of its last event.

    `categories` and `types` are those of all events that the command appended; both are empty if it appended none.
    `events` is their number.
    """

    stream: str = ""
    version: int = 0
    position: int = 0
    categories: frozenset[str] = frozenset()
    types: frozenset[str] = frozenset()
    events: int = 0


@dataclass(frozen=True, slots=True)
class Reaction:
    """What a reactor does about one event: how often it has sent each command so far, by what tells commands apart."""

    reactor: str
    sent: Counter[str] = field(default_factory=Counter)


def derived_id(cause: UUID, *names: str) -> UUID:
    """An id that is the same whenever it is derived from the same id and names, and from no others.

    Like the ids of events it is a UUIDv7, with the time of `cause`.
    """
    digest = hashlib.sha256(msgspec.json.encode([cause.hex, *names])).digest()
    return UUID(
        bytes=cause.bytes[:6] + bytes([0x70 | digest[0] & 0x0F, digest[1], 0x80 | digest[2] & 0x3F]) + digest[3:10]
    )


def id_in_reaction(command: Command, cause: UUID) -> UUID:
    """The id of a command that follows from an event: whoever delivers the event again derives it again.

    It also follows from the reactor and from what the command is about, because a reactor may find less to do at the
    second time: the second of two commands is then its first.
    """
    values = msgspec.to_builtins(command, builtin_types=(UUID, Decimal, datetime), str_keys=True, enc_hook=repr)
    about = f"{type(command).__module__}.{type(command).__qualname__} {_without_texts(values)}"
    reacting = reaction.get() or Reaction("")
    reacting.sent[about] += 1
    return derived_id(cause, reacting.reactor, about, str(reacting.sent[about]))


def _without_texts(value: Any) -> Any:
    """Ids, numbers and instants. A text may be somebody's name, and nobody must be able to test a guess at it."""
    if isinstance(value, dict):
        return {name: _without_texts(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_without_texts(each) for each in value]
    return "" if isinstance(value, str) else value


reaction: ContextVar[Reaction | None] = ContextVar("reaction", default=None)
"""The reaction that is going on. `Reactor.react` sets it, `dispatch` reads it."""

request: ContextVar[Request] = ContextVar("request")
"""The request of the command that is being handled. `dispatch` sets it, `repository` reads it."""

outcome: ContextVar[Outcome] = ContextVar("outcome")
"""The outcome so far of the command that is being handled. `repository` sets it, `dispatch` reads it."""
