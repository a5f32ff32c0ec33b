"""The log on PostgreSQL: one SQL function each for appending, the safe position and importing.

The functions, made by a migration, hold the in-flight marks that keep followers from skipping
events, so an append is one round trip and needs no INSERT right.
"""

from typing import Any

import msgspec
import psycopg
from django.db import IntegrityError
from django.db.backends.base.base import BaseDatabaseWrapper
from msgspec import Raw
from psycopg.pq import Format

from apps.eventlog.events import Payload, RecordedEvent
from apps.eventlog.log.queries import Parameters, Query, of_columns, raws

# In the order of FIELDS.
RECORDED = """
e.position, e.event_id::text, e.stream, e.stream_version, e.type, e.schema_version, e.data::text, e.metadata::text,
e.recorded_at
"""
# One value a column: leaves the reader with half the work for many events, and costs more for few. An aggregate takes
# rows in the order of a sorted subquery, as long as nothing is joined to it.
COLUMNS = """
SELECT array_agg(e.position), array_agg(e.event_id::text), array_agg(e.stream), array_agg(e.stream_version),
       array_agg(e.type), array_agg(e.schema_version), '[' || string_agg(e.data::text, ',') || ']',
       '[' || string_agg(e.metadata::text, ',') || ']', array_agg(e.recorded_at)
FROM ({}) e
"""
# Every column, as canonical.Row has them: one JSON list.
STORED = """
'[' || e.position || ',"' || e.event_id || '",' || to_json(e.stream) || ',' || e.stream_version
 || ',' || to_json(e.category) || ',' || to_json(e.type) || ',' || e.schema_version
 || ',' || e.data || ',' || e.metadata || ',' || coalesce('"' || e.correlation_id || '"', 'null')
 || ',"' || to_char(e.recorded_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US') || 'Z"]'
"""
_APPEND = "SELECT outcome, last_position, last_version FROM {}(%s, %s, %s::jsonb, %s::jsonb)"
APPEND, APPEND_ALONE = _APPEND.format("eventlog_append"), _APPEND.format("eventlog_append_alone")


def append(
    connection: BaseDatabaseWrapper, stream: str, expected_version: int, events: list[Payload], metadata: Payload
) -> tuple[str, int, int]:
    """Append in one statement; returns (outcome, position, version), see `store.append`."""
    parameters = [stream, expected_version, _json(events), _json(metadata)]
    if not connection.in_atomic_block:
        try:
            return _one_row(connection, APPEND_ALONE, parameters)
        except IntegrityError:  # a repeat, or somebody else was faster: told apart below
            pass
    return _one_row(connection, APPEND, parameters)


def _one_row(connection: BaseDatabaseWrapper, statement: str, parameters: list[Any]) -> Any:
    """The row of a statement that the server keeps prepared, as it does for psycopg's cursors but not for Django's."""
    connection.ensure_connection()
    connection.validate_no_broken_transaction()
    with connection.wrap_database_errors:
        return psycopg.Cursor(connection.connection).execute(statement, parameters).fetchone()


def safe_position(connection: BaseDatabaseWrapper) -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT eventlog_safe_position()")
        return cursor.fetchone()[0]


def last_position(connection: BaseDatabaseWrapper) -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT last_value FROM eventlog_event_position_seq")
        return cursor.fetchone()[0]


def recorded(connection: BaseDatabaseWrapper, query: str, parameters: Parameters) -> list[RecordedEvent]:
    """The events of a query on the event table.

    Row by row in psycopg's binary form: half the work, for both sides, of one JSON value with all events.
    """
    with connection.cursor() as cursor:
        cursor.cursor.format = Format.BINARY
        cursor.execute(f"SELECT {RECORDED} FROM ({query}) e", parameters)  # noqa: S608
        return [
            RecordedEvent(position, id, stream, version, type, schema, Raw(data), Raw(metadata), at)
            for position, id, stream, version, type, schema, data, metadata, at in cursor.fetchall()
        ]


def recorded_page(connection: BaseDatabaseWrapper, query: str, parameters: Parameters) -> list[RecordedEvent]:
    """The same for many events, column by column."""
    with connection.cursor() as cursor:
        cursor.cursor.format = Format.BINARY
        cursor.execute(COLUMNS.format(query), parameters)
        *columns, data, metadata, instants = cursor.fetchone()
    return of_columns(*columns, raws(data), raws(metadata), instants) if data else []


def page_as_stored(connection: BaseDatabaseWrapper, query: str, parameters: Parameters) -> str | None:
    """The rows of a query on the event table as one JSON list of lists, None for no row."""
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT '[' || string_agg({STORED}, ',') || ']' FROM ({query}) e", parameters)  # noqa: S608
        return cursor.fetchone()[0]


def one_beyond(after: int, column: str, value: str) -> Query:
    """A row where an event of this category or type lies beyond a position: where the next entry of the index is one.

    With plain conditions and a limit the planner expects to come upon one soon, and reads on to the end of the log
    where there is none.
    """
    following = f"SELECT {column} AS found FROM eventlog_event WHERE ({column}, position) > (%s, %s)"  # noqa: S608
    query = f"SELECT 1 FROM ({following} ORDER BY {column}, position LIMIT 1) e WHERE found = %s"  # noqa: S608
    return query, [value, after, value]


def restore(connection: BaseDatabaseWrapper, documents: list[Payload]) -> tuple[int, int, int]:
    """Write recorded events in their recorded form; returns how many, and the head before and after."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT written, low, head FROM eventlog_import(%s::jsonb)", [_json(documents)])
        return cursor.fetchone()


def refresh_statistics(connection: BaseDatabaseWrapper) -> None:
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE eventlog_event")


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()
