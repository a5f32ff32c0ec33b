"""What is asked of the event table, in SQL that both engines understand.

It is plain SQL because every request asks some of it, and Django takes longer to build a queryset than to run it.
"""

from collections.abc import Collection, Iterator
from datetime import datetime
from typing import Any, TypedDict
from uuid import UUID

from apps.eventlog.database.statements import Query, marks
from apps.eventlog.events import stored_names
from apps.eventlog.log import columns
from apps.eventlog.log.columns import correlation_key
from apps.eventlog.log.engine import engine

TABLE = "eventlog_event"
SELECT = f"SELECT {', '.join(column.name for column in columns.READ)} FROM eventlog_event"  # noqa: S608
SELECT_ALL = f"SELECT {', '.join(columns.NAMES)} FROM eventlog_event"  # noqa: S608
# What the log promises of each stream: versions 1..n without gaps, in the order of positions and of instants.
BROKEN_STREAMS = """
SELECT position, stream, stream_version, version_before, position_before
FROM (SELECT position, stream, stream_version, recorded_at,
             lag(stream_version, 1, 0) OVER w AS version_before,
             lag(position) OVER w AS position_before,
             lag(recorded_at) OVER w AS recorded_before
      FROM eventlog_event WINDOW w AS (PARTITION BY stream ORDER BY stream_version)) e
WHERE stream_version <> version_before + 1 OR position_before > position OR recorded_before > recorded_at
ORDER BY position
"""


class Conditions(TypedDict, total=False):
    """Which events to read. They meet all of the conditions; None is no condition.

    `category` is one or several; `types` has current or former names, and means the same events by each; `since` is an
    instant: recorded then or later; `naming` is a field of the data and its text.
    """

    category: str | Collection[str] | None
    types: Collection[str] | None
    stream: str | None
    correlation_id: str | None
    since: datetime | None
    naming: tuple[str, str] | None


def page(after: int, limit: int, conditions: Conditions, *, back_from: int | None = None) -> Query:
    """A page of the events beyond a position, oldest first. With `back_from`, it ends there and is newest first."""
    where, parameters = _all_of(_terms(after, back_from, conditions))
    # A stream's versions are in the order of its positions, and its index is by version.
    order = "stream_version" if conditions.get("stream") is not None else "position"
    order += "" if back_from is None else " DESC"
    return f"{SELECT} WHERE {where} ORDER BY {order} LIMIT {limit}", parameters


def page_from(position: int, limit: int, conditions: Conditions) -> Query:
    """The event at a position, whatever its kind, and then such a page: what one statement reads is of one log."""
    query, parameters = page(position, limit, conditions)
    both = f"{SELECT} WHERE position = %s UNION ALL SELECT * FROM ({query}) later ORDER BY position"  # noqa: S608
    return both, [position, *parameters]


def _terms(after: int, back_from: int | None, conditions: Conditions) -> Iterator[Query]:
    stream, correlation_id = conditions.get("stream"), conditions.get("correlation_id")
    since, naming = conditions.get("since"), conditions.get("naming")
    # If the position were a plain column here, the planners would search a long log by it instead of by the stream.
    position = "position" if stream is None else "position + 0"
    yield f"{position} > %s", [after]
    if back_from is not None:
        yield f"{position} <= %s", [back_from]
    yield from _of_kind(conditions.get("category"), conditions.get("types"))
    if stream is not None:
        yield "stream = %s", [stream]
    if correlation_id is not None:
        yield "correlation_id = %s", [engine().plain(correlation_key(correlation_id))]
    if since is not None:
        yield "recorded_at >= %s", [engine().plain(since)]
    if naming is not None:
        yield f"{engine().in_data(naming[0])} = %s", [naming[1]]


def _of_kind(category: str | Collection[str] | None, types: Collection[str] | None = None) -> Iterator[Query]:
    categories = [category] if isinstance(category, str) else category
    for column, values in (("category", categories), ("type", types and stored_names(types))):
        if values is not None:
            yield (f"{column} IN {marks(values)}", list(values)) if values else ("false", [])


def _all_of(terms: Iterator[Query]) -> Query:
    each = list(terms)
    return " AND ".join(term for term, _ in each), [value for _, values in each for value in values]


def stream_page(stream: str, versions: range, end: int | None, limit: int, *, backwards: bool) -> Query:
    """A page of the events of a stream that have these versions, up to a position. Backwards, it is newest first."""
    where = "stream = %s AND stream_version >= %s AND stream_version < %s"
    parameters = [stream, versions.start, versions.stop]
    if end is not None:
        where, parameters = f"{where} AND position <= %s", [*parameters, end]
    return f"{SELECT} WHERE {where} ORDER BY stream_version{' DESC' * backwards} LIMIT {limit}", parameters


def at(position: int) -> Query:
    return f"{SELECT} WHERE position = %s", [position]


def with_ids(event_ids: Collection[UUID]) -> Query:
    """The events with these ids."""
    return f"{SELECT} WHERE event_id IN {marks(event_ids)}", [engine().plain(id) for id in event_ids]


def last_of(streams: Collection[str]) -> Query:
    """The newest event of each of these streams."""
    newest = f"SELECT stream, max(stream_version) FROM eventlog_event WHERE stream IN {marks(streams)} GROUP BY stream"  # noqa: S608
    return f"{SELECT} WHERE (stream, stream_version) IN ({newest})", list(streams)


def of_streams(streams: Collection[str]) -> Query:
    """All events of these streams, stream by stream, each oldest first."""
    return f"{SELECT} WHERE stream IN {marks(streams)} ORDER BY stream, stream_version", list(streams)


def first_of(streams: Collection[str]) -> Query:
    """The first event of each of these streams."""
    return f"{SELECT} WHERE stream_version = 1 AND stream IN {marks(streams)}", list(streams)


def by_stream(after: tuple[str, int], end: str, until: int, limit: int) -> Query:
    """A page of events, stream by stream: beyond a version of one stream, before another stream, up to a position."""
    # One comparison of rows, so that the page is one range of the index.
    where = "stream < %s AND position <= %s AND (stream, stream_version) > (%s, %s)"
    return f"{SELECT} WHERE {where} ORDER BY stream, stream_version LIMIT {limit}", [end, until, *after]


def stream_beyond(first: str, end: str, events: int) -> Query:
    """The stream that lies so many events beyond one, or nothing if `end` comes first."""
    query = "SELECT stream FROM eventlog_event WHERE stream > %s AND stream < %s ORDER BY stream, stream_version"
    return f"{query} LIMIT 1 OFFSET {events}", [first, end]


def head() -> Query:
    return "SELECT max(position) FROM eventlog_event", []


def encrypted_about(subject: str, streams: Collection[str], types: Collection[str]) -> Query:
    """One row if these streams, or events of these types, have a field that is encrypted for the subject."""
    # Each engine writes JSON in a form of its own, with a space behind the colon or without.
    sealed = "(lower(CAST(data AS text)) LIKE %s OR lower(CAST(data AS text)) LIKE %s)"
    forms = [f'%"subject": "{subject}"%', f'%"subject":"{subject}"%']
    found = ("stream", streams), ("type", stored_names(types))
    each = [(f"{column} IN {marks(values)}", values) for column, values in found if values]
    query = " UNION ALL ".join(f"SELECT 1 FROM eventlog_event WHERE {where} AND {sealed}" for where, _ in each)  # noqa: S608
    return f"{query} LIMIT 1", [value for _, values in each for value in (*values, *forms)]


def position_of(stream: str, version: int | None) -> Query:
    """The position of a version of a stream, or of its last."""
    query, parameters = "SELECT position FROM eventlog_event WHERE stream = %s", [stream]
    if version is None:
        return f"{query} ORDER BY stream_version DESC LIMIT 1", parameters
    return f"{query} AND stream_version = %s", [*parameters, version]


def count(
    after: int, until: int | None, category: str | Collection[str] | None, types: Collection[str] | None
) -> Query:
    """How many events of these categories and types lie beyond a position and up to another."""
    terms: list[Query] = list(_of_kind(category, types))
    # Without a condition, SQLite counts the entries of its smallest index instead of the rows of the table.
    terms += [("position > %s", [after])] if after else []
    terms += [("position <= %s", [until])] if until is not None else []
    where, parameters = _all_of(iter(terms))
    return f"SELECT count(*) FROM eventlog_event{' WHERE ' + where if where else ''}", parameters  # noqa: S608


def count_of_streams(starts: Collection[tuple[str, int]], until: int, types: Collection[str]) -> Query:
    """Of each of these streams, how many events it has from a version on and up to a position, of some types or of all.

    The event at that version counts whatever its type.
    """
    where, kinds = "stream = %s AND stream_version >= %s AND position <= %s", stored_names(types)
    if kinds:
        where = f"{where} AND (stream_version = %s OR type IN {marks(kinds)})"
    each = f"SELECT count(*) FROM eventlog_event WHERE {where}"  # noqa: S608
    values = [
        value for stream, version in starts for value in (stream, version, until, *((version, *kinds) if kinds else ()))
    ]
    return " UNION ALL ".join([each] * len(starts)), values


def any_of(queries: Collection[Query]) -> Query:
    """The rows of all of these queries, one or more."""
    return " UNION ALL ".join(query for query, _ in queries), [each for _, values in queries for each in values]


def last_recorded_by(instant: Any, after: int, end: int | None) -> Query:
    """The position of the last event that was recorded at an instant or before it, beyond a position, up to an end."""
    where, parameters = "recorded_at <= %s AND position > %s", [instant, after]
    if end is not None:
        where, parameters = f"{where} AND position <= %s", [*parameters, end]
    return f"SELECT position FROM eventlog_event WHERE {where} ORDER BY position DESC LIMIT 1", parameters  # noqa: S608


def earliest_by_block(size: int, after: int, end: int) -> Query:
    """The earliest instant of each block of so many positions, between two positions; blocks count from 0."""
    query = f"SELECT (position - 1) / {size} AS block, min(recorded_at) FROM eventlog_event"  # noqa: S608
    return f"{query} WHERE position > %s AND position <= %s GROUP BY (position - 1) / {size}", [after, end]


def last_between(after: int, end: int) -> Query:
    """The position and the id of the last event beyond a position, up to another."""
    where = "position > %s AND position <= %s ORDER BY position DESC LIMIT 1"
    return f"SELECT position, event_id FROM eventlog_event WHERE {where}", [after, end]  # noqa: S608


def ids_at(positions: Collection[int]) -> Query:
    """The position and the id of the event at each of these positions, if there is one."""
    return f"SELECT position, event_id FROM eventlog_event WHERE position IN {marks(positions)}", list(positions)  # noqa: S608


def import_before(position: int) -> Query:
    """The end of the last import that begins at or before a position."""
    return "SELECT last FROM eventlog_imported WHERE first <= %s ORDER BY first DESC LIMIT 1", [position]


def streams_begun_after(position: int) -> Query:
    """The streams whose first event lies beyond a position."""
    return "SELECT stream FROM eventlog_event WHERE position > %s AND stream_version = 1", [position]


def first_of_kind(column: str, value: str, after: int) -> Query:
    """The position of the first event beyond another with this category or type, or without a column of the first.

    It is one look at an index: with plain conditions, PostgreSQL's planner may read to the end of the log.
    """
    if not column:
        first = "SELECT position FROM eventlog_event WHERE position > %s ORDER BY position LIMIT 1"
        return f"SELECT position FROM ({first}) e", [after]  # noqa: S608
    following = f"SELECT {column} AS kind, position FROM eventlog_event WHERE ({column}, position) > (%s, %s)"  # noqa: S608
    query = f"SELECT position FROM ({following} ORDER BY {column}, position LIMIT 1) e WHERE kind = %s"  # noqa: S608
    return query, [value, after, value]


def first() -> Query:
    return "SELECT position, event_id FROM eventlog_event ORDER BY position LIMIT 1", []


def head_and(position: int) -> Query:
    """The same for the end of the log and for one position."""
    where = "position = (SELECT max(position) FROM eventlog_event) OR position = %s"
    return f"SELECT position, event_id FROM eventlog_event WHERE {where}", [position]  # noqa: S608


def gone(position: int, event_id: Any) -> Query:
    """A row if the event at this position has not this id, or if there is none."""
    return f"SELECT 2 WHERE NOT EXISTS ({with_id(position, event_id)[0]})", [position, event_id]


def with_id(position: int, event_id: Any) -> Query:
    """A row if the event at this position has this id."""
    return "SELECT 1 FROM eventlog_event WHERE position = %s AND event_id = %s", [position, event_id]


def every_column(after: int, end: int, limit: int) -> Query:
    """A page of rows with all columns: beyond one position, up to another."""
    return f"{SELECT_ALL} WHERE position > %s AND position <= %s ORDER BY position LIMIT {limit}", [after, end]


def positions(after: int, end: int, limit: int) -> Query:
    where = f"position > %s AND position <= %s ORDER BY position LIMIT {limit}"
    return f"SELECT position FROM eventlog_event WHERE {where}", [after, end]  # noqa: S608
