"""What somebody wants: commands, who sends them, and what came of one."""

from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Self
from uuid import UUID


class Command:
    """Base of every command: a frozen dataclass in a service's `write/commands.py`."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Actor:
    """Who sends a command: a customer by user id, a member of staff or the system by name."""

    name: str
    is_staff: bool = False

    @classmethod
    def customer(cls, user_id: UUID) -> Self:
        return cls(str(user_id))

    def owns(self, owner: UUID | None) -> bool:
        """True for staff, and for the customer whose user id this is."""
        return self.is_staff or (owner is not None and self.name == str(owner))


SYSTEM = Actor("system", is_staff=True)


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
