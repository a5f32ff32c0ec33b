"""What somebody wants: commands, and who sends them."""

from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Self
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


@dataclass(slots=True)
class Run:
    """One run of a command: who sent it, what its events carry along, and where it ended.

    `expected_version` makes it conditional. `complete` is called in the transaction of the append
    with the stream, the version and the position that the command ended at. `types` are those of its events.
    """

    actor: Actor
    metadata: dict[str, str]
    expected_version: int | None = None
    complete: Callable[[str, int, int], None] | None = None
    stream: str = ""
    types: set[str] = field(default_factory=set)
    version: int = 0
    position: int = 0


running: ContextVar[Run] = ContextVar("running")
