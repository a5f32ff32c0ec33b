"""What a backup and a restore do with one database, whatever its engine."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

Progress = Callable[[int], None]


class CannotCopy(Exception):
    """A database cannot be copied, or cannot be replaced; the message says why."""


class DatabaseCopy(Protocol):
    """One database, to be copied as of one instant while others use it, or to be replaced by such a copy."""

    engine: str
    suffix: str  # of the file of a copy

    def freeze(self) -> None:
        """Look at the database as of this instant, until `release`. Called again, the instant is a later one.

        It holds up nobody who reads or writes. Raises `CannotCopy`.
        """

    def rows(self, statement: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """What the frozen database answers to a statement with `%s` for its parameters."""

    def write(self, file: Path, progress: Progress) -> None:
        """Write the frozen database to a new file, with the number of bytes since the last call to `progress`.

        Raises `CannotCopy`.
        """

    def release(self) -> None:
        """Let go of the instant."""

    def version(self) -> str:
        """The version of the engine."""

    def roles(self) -> list[str]:
        """The roles that have rights in the database, besides its owner."""

    def obstacle(self) -> str:
        """Why the database cannot be replaced now, because others use it or this role may not; "" if it can."""

    def replace(self, file: Path, roles: Sequence[str], progress: Progress) -> str:
        """Put the copy in a file in the place of everything that is in the database.

        `roles` are those that had rights in it. If this is interrupted, the database is empty, or holds all that it
        held before. Returns a note for the operator, or "". Raises `CannotCopy`.
        """
