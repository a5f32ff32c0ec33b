"""What the log needs of a database engine, and which engine the log is on."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

from django.db import connections

from apps.eventlog.database.statements import Query
from apps.eventlog.events import Payload, Place, RecordedEvent

ALIAS = "eventlog"


class Engine(Protocol):
    """The event table on one engine. A query is SQL with its parameters, in the form that `plain` gives them."""

    def append(
        self, stream: str, expected_version: int, events: Sequence[Payload], metadata: Payload
    ) -> tuple[str, int, int]:
        """Append events to a stream, all or none. Returns the outcome and the position and version that it means:

        "appended": those of the last event; "repeated": those of the last event when it was first appended;
        "conflict": position 0 and the version that the stream has; "taken": those of the event that has the id.
        """

    def restore(self, documents: Sequence[Payload]) -> tuple[int, int, int]:
        """Write recorded events with their instants, without those whose id is in the log already.

        Returns how many were written, and the last position before and after. Raises IntegrityError if an event is
        not the next of its stream.
        """

    def safe_place(self) -> Place:
        """The last event that every follower may read: at its position, or before it, no event can still appear."""

    def last_position(self) -> int:
        """The last position that was ever taken, by an append that may have been rolled back."""

    def read(self, query: Query) -> list[RecordedEvent]:
        """The events of a query that selects the columns of a `RecordedEvent`."""

    def read_as_stored(self, query: Query) -> str | bytes:
        """The rows of a query that selects every column: a JSON list of lists, each value exactly as it is stored."""

    def next_of_kind(self, column: str, value: str, after: int, until: int | None) -> Query:
        """A query for one row if an event with this category or type lies beyond a position, and not beyond another.

        It is one look at an index, however long the log is.
        """

    def in_data(self, field: str) -> str:
        """SQL for the text of a field of the event's data."""

    def plain(self, value: UUID | datetime) -> Any:
        """A value as a parameter of a query, which compares with what the table holds."""

    def refresh_statistics(self) -> None:
        """Let the database count the rows of the table; it plans reads by that."""


def engine() -> Engine:
    """The engine that the log is on. Only its module is loaded, so a deployment on SQLite does not need psycopg."""
    connection = connections[ALIAS]
    if connection.vendor == "sqlite":
        from apps.eventlog.log.sqlite import SQLite  # noqa: PLC0415

        return SQLite(connection)
    from apps.eventlog.log.postgresql import PostgreSQL  # noqa: PLC0415

    return PostgreSQL(connection)
