"""What a shadow table needs from a database engine."""

from typing import Protocol

SUFFIX = "__rebuild"  # ends the temporary names of a shadow table and its indexes


class ShadowEngine(Protocol):
    """One implementation for each engine. `live` and `shadow` are the names of two tables, without quotes.

    The methods that return statements leave it to the caller to run them, in its own transaction.
    """

    def create(self, live: str, shadow: str) -> list[str]:
        """Statements that make an empty copy of the live table, with its primary key and no other index."""
        ...

    def build_indexes(self, live: str, shadow: str) -> None:
        """Build the secondary indexes of the live table on the shadow table, under temporary names."""
        ...

    def keep_maintenance_away(self, live: str, shadow: str) -> list[str]:
        """Statements that keep maintenance from both tables until the transaction ends; rows can still be written."""
        ...

    def lock(self, live: str) -> list[str]:
        """Statements that keep all others from the live table until the transaction ends."""
        ...

    def rename_indexes(self, live: str) -> list[str]:
        """Statements that give the indexes the names of the live table's, once the shadow table has replaced it."""
        ...
