"""What the log needs of a database engine, and which engine the log is on."""

from collections.abc import Callable, Sequence
from datetime import datetime
from functools import cache
from typing import Any, Protocol
from uuid import UUID

from django.db import connections

from apps.eventlog.database.statements import Query
from apps.eventlog.events import Payload, Place, RecordedEvent
from apps.eventlog.log.records import Answer, Expected, Row

ALIAS = "eventlog"


class Engine(Protocol):
    """The event table on one engine. A query is SQL with its parameters, in the form that `plain` gives them."""

    def append(
        self, stream: str, expected_version: int | Expected, events: Sequence[Payload], metadata: bytes
    ) -> Answer:
        """Append events to a stream, all or none, with one instant that is later than the last of the stream.

        `metadata` is JSON.
        """

    def held_version(self, stream: str) -> int:
        """The version of a stream, to which nobody else appends before the open transaction ends; 0 for no event."""

    def lock(self) -> int:
        """Keep other writers away to the end of the open transaction; returns the last position that was taken."""

    def write(self, rows: Sequence[Row]) -> None:
        """Write recorded events at their positions, in the open transaction with the `lock`, as the log's owner."""

    def continue_after(self, position: int) -> None:
        """Let appends take positions beyond this one, after `write` and with nothing left that may fail.

        A rollback does not undo it.
        """

    def safe_place(self) -> Place:
        """The last event that every follower may read: at its position, or before it, no event can still appear."""

    def oldest_mark(self) -> float:
        """For how many seconds the oldest in-flight mark has held readers back; 0 if there is none."""

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
    """The engine that the log is on."""
    connection = connections[ALIAS]
    return _engine_for(connection.vendor)(connection)


@cache
def _engine_for(vendor: str) -> Callable[[Any], Engine]:
    """Only the module of this engine is loaded, so a deployment on SQLite does not need psycopg."""
    if vendor == "sqlite":
        from apps.eventlog.log.sqlite import SQLite  # noqa: PLC0415

        return SQLite
    from apps.eventlog.log.postgresql import PostgreSQL  # noqa: PLC0415

    return PostgreSQL
