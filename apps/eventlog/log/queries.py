"""Plain queries on the event table, for what each request reads: a queryset costs more to make than to run."""

from collections.abc import Collection, Sequence
from itertools import starmap
from typing import Any

import msgspec
from django.db.models import QuerySet

from apps.eventlog.database.statements import marks
from apps.eventlog.events import FIELDS, RecordedEvent

Parameters = Sequence[Any]
Query = tuple[str, Parameters]
Rows = QuerySet[Any] | Query
raws = msgspec.json.Decoder(list[msgspec.Raw]).decode
SELECT = f"SELECT {', '.join(FIELDS)} FROM eventlog_event"  # noqa: S608


def of_stream(stream: str, after_version: int, end: int | None) -> Query:
    """The events of a stream beyond a version, up to a position."""
    query, parameters = f"{SELECT} WHERE stream = %s AND stream_version > %s", [stream, after_version]
    if end is not None:
        query, parameters = f"{query} AND position <= %s", [*parameters, end]
    return f"{query} ORDER BY stream_version", parameters


def page(after: int, limit: int, categories: Collection[str] | None, types: Collection[str] | None) -> Query:
    """So many events beyond a position, of these categories and of these types."""
    where, parameters = _beyond(after, categories, types)
    return f"{SELECT} WHERE {where} ORDER BY position LIMIT {limit}", parameters


def streams(after: tuple[str, int], end: str, until: int, limit: int) -> Query:
    """So many events stream by stream, beyond a version of a stream and before another stream, up to a position."""
    # A comparison of rows, so that the page is one range of the index.
    where = "stream < %s AND position <= %s AND (stream, stream_version) > (%s, %s)"
    return f"{SELECT} WHERE {where} ORDER BY stream, stream_version LIMIT {limit}", [end, until, *after]


def plain(rows: Rows) -> Query:
    """A query for the FIELDS of these rows."""
    return rows if isinstance(rows, tuple) else rows.values_list(*FIELDS).query.sql_with_params()


def any_of(queries: Sequence[Query]) -> Query:
    """The rows of all of them, one or more."""
    return " UNION ALL ".join(query for query, _ in queries), [each for _, values in queries for each in values]


def stream_beyond(first: str, end: str, events: int) -> Query:
    """The stream that lies so many events beyond one, none where `end` comes first."""
    query = "SELECT stream FROM eventlog_event WHERE stream > %s AND stream < %s ORDER BY stream, stream_version"
    return f"{query} LIMIT 1 OFFSET {events}", [first, end]


def sealed_about(subject: str, streams: Collection[str], types: Collection[str]) -> Query:
    """One row if these streams, or events of these types, have a field that is encrypted for the subject."""
    # Each engine writes JSON in a form of its own, with a space behind the colon or without.
    sealed = "(lower(CAST(data AS text)) LIKE %s OR lower(CAST(data AS text)) LIKE %s)"
    forms = [f'%"subject": "{subject}"%', f'%"subject":"{subject}"%']
    each = [
        (f"{column} IN {marks(values)}", values) for column, values in (("stream", streams), ("type", types)) if values
    ]
    query = " UNION ALL ".join(f"SELECT 1 FROM eventlog_event WHERE {where} AND {sealed}" for where, _ in each)  # noqa: S608
    return f"{query} LIMIT 1", [value for _, values in each for value in (*values, *forms)]


def _beyond(after: int, categories: Collection[str] | None, types: Collection[str] | None) -> Query:
    where, parameters = "position > %s", [after, *(categories or ()), *(types or ())]
    for column, values in (("category", categories), ("type", types)):
        if values is not None:
            where += f" AND {column} IN {marks(values)}" if values else " AND false"
    return where, parameters


def of_columns(*columns: Sequence[Any]) -> list[RecordedEvent]:
    """The events of columns in the order of FIELDS. Raises ValueError if one is shorter than the others.

    For many events, one call of C for each column is faster than one for each row.
    """
    return list(starmap(RecordedEvent, zip(*columns, strict=True)))
