"""The log on SQLite: one writer at a time, so positions become visible in their order."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import msgspec
from django.db import IntegrityError, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from apps.eventlog.events import Payload, RecordedEvent
from apps.eventlog.log.queries import Parameters, Query, of_columns, raws

# One JSON list, in the order of FIELDS. What is JSON already goes in as it is; an instant gets its zone.
RECORDED = """
printf('[%%d,"%%s",%%s,%%d,%%s,%%d,%%s,%%s,"%%sZ"]', e.position, e.event_id, json_quote(e.stream), e.stream_version,
       json_quote(e.type), e.schema_version, e.data, e.metadata, e.recorded_at)
"""
# One value a column, in the order of FIELDS: a third less work for many events, and more for few.
COLUMNS = """
SELECT group_concat(e.position), group_concat(e.event_id), json_group_array(e.stream), group_concat(e.stream_version),
       json_group_array(e.type), group_concat(e.schema_version), CAST(group_concat(e.data) AS blob),
       CAST(group_concat(e.metadata) AS blob), group_concat(e.recorded_at, 'Z","')
FROM ({}) e
"""
DASHED = """
substr(e.{0}, 1, 8) || '-' || substr(e.{0}, 9, 4) || '-' || substr(e.{0}, 13, 4) || '-' || substr(e.{0}, 17, 4)
 || '-' || substr(e.{0}, 21)
"""
# Every column, as canonical.Row has them.
STORED = f"""
'[' || e.position || ',' || json_quote({DASHED.format("event_id")}) || ',' || json_quote(e.stream)
 || ',' || e.stream_version || ',' || json_quote(e.category) || ',' || json_quote(e.type)
 || ',' || json_quote(e.schema_version) || ',' || e.data || ',' || e.metadata
 || ',' || json_quote({DASHED.format("correlation_id")})
 || ',' || json_quote(e.recorded_at || 'Z') || ']'
"""
INSERT = """
INSERT INTO eventlog_event (position, event_id, stream, stream_version, category, type,
                            schema_version, data, metadata, correlation_id, recorded_at)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
""".replace("?", "%s")
# The last event of the log and that of a stream: one row, with nothing where there is none.
LAST = """
SELECT h.position, CAST(h.recorded_at AS text), s.stream_version, CAST(s.recorded_at AS text)
FROM (SELECT max(position) AS head, (SELECT max(stream_version) FROM eventlog_event WHERE stream = %s) AS version
      FROM eventlog_event)
LEFT JOIN eventlog_event h ON h.position = head
LEFT JOIN eventlog_event s ON s.stream = %s AND s.stream_version = version
"""
TWIN = "SELECT position, stream, stream_version, type, data FROM eventlog_event WHERE event_id = %s"
_decode = msgspec.json.Decoder(list[RecordedEvent]).decode
_numbers = msgspec.json.Decoder(list[int]).decode
_strings = msgspec.json.Decoder(list[str]).decode
_instants = msgspec.json.Decoder(list[datetime]).decode


def append(
    connection: BaseDatabaseWrapper, stream: str, expected_version: int, events: list[Payload], metadata: Payload
) -> tuple[str, int, int]:
    """Append under the write lock; returns (outcome, position, version), see `store.append`."""
    try:
        with transaction.atomic(using=connection.alias), connection.cursor() as cursor:
            head, latest, version, last_of_stream = cursor.execute(LAST, [stream, stream]).fetchone()
            head, version = head or 0, version or 0
            if version != expected_version:
                return _twins(connection, stream, events) or ("conflict", 0, version)
            # Never earlier than the event before, in the log and (after an import the two differ) in the stream.
            now = max(latest or "", last_of_stream or "", _instant(datetime.now(UTC)))
            rows = [
                _row(head + number, stream, version + number, event, metadata, now)
                for number, event in enumerate(events, start=1)
            ]
            cursor.executemany(INSERT, rows)
    except IntegrityError:
        if answer := _twins(connection, stream, events):
            return answer
        raise
    return "appended", head + len(rows), version + len(rows)


def _twins(connection: BaseDatabaseWrapper, stream: str, events: list[Payload]) -> tuple[str, int, int] | None:
    """The answer where event ids are in the log already: all of them with this content, or somebody else's."""
    with connection.cursor() as cursor:
        twins = [twin for event in events for twin in cursor.execute(TWIN, [event["event_id"].hex]).fetchall()]
    if not twins:
        return None
    known = [(twin_stream, type, msgspec.json.decode(data)) for _, twin_stream, _, type, data in twins]
    sent = [(stream, event["type"], event["data"]) for event in events]
    return ("repeated" if known == sent else "taken"), twins[-1][0], twins[-1][2]


def _row(position: int, stream: str, version: int, event: Payload, metadata: Payload, recorded_at: str) -> list[Any]:
    return [
        position,
        event["event_id"].hex,
        stream,
        version,
        stream.partition("-")[0],
        event["type"],
        event["schema_version"],
        _json(event["data"]),
        _json(metadata),
        _hex(metadata.get("correlation_id")),
        recorded_at,
    ]


def safe_position(connection: BaseDatabaseWrapper) -> int:
    with connection.cursor() as cursor:
        return _first(cursor.execute("SELECT max(position) FROM eventlog_event"))


last_position = safe_position


def recorded(connection: BaseDatabaseWrapper, query: str, parameters: Parameters) -> list[RecordedEvent]:
    """The events of a query on the event table.

    They come as one JSON value, which is decoded straight into events: several times faster than row by row.
    """
    page = _page(connection, query, parameters, RECORDED)
    return _decode(page) if page else []


def recorded_page(connection: BaseDatabaseWrapper, query: str, parameters: Parameters) -> list[RecordedEvent]:
    """The same for many events, column by column."""
    with connection.cursor() as cursor:
        page = cursor.execute(COLUMNS.format(query), parameters).fetchone()
    if page[0] is None:
        return []
    positions, ids, streams, versions, types, schemas, data, metadata, instants = page
    return of_columns(
        _numbers(f"[{positions}]"),
        ids.split(","),
        _strings(streams),
        _numbers(f"[{versions}]"),
        _strings(types),
        _numbers(f"[{schemas}]"),
        raws(b"[%b]" % data),
        raws(b"[%b]" % metadata),
        _instants(f'["{instants}Z"]'),
    )


def page_as_stored(connection: BaseDatabaseWrapper, query: str, parameters: Parameters) -> bytes | None:
    """The rows of a query on the event table as one JSON list of lists, None for no row."""
    return _page(connection, query, parameters, STORED)


def _page(connection: BaseDatabaseWrapper, query: str, parameters: Parameters, columns: str) -> bytes | None:
    with connection.cursor() as cursor:
        # As bytes: whoever decodes them says which row is not UTF-8.
        cursor.execute(f"SELECT CAST('[' || group_concat({columns}) || ']' AS blob) FROM ({query}) e", parameters)  # noqa: S608
        return cursor.fetchone()[0]


def one_beyond(after: int, column: str, value: str) -> Query:
    """A row where an event of this category or type lies beyond a position."""
    query = f"SELECT 1 FROM (SELECT 1 FROM eventlog_event WHERE {column} = %s AND position > %s LIMIT 1) e"  # noqa: S608
    return query, [value, after]


def restore(connection: BaseDatabaseWrapper, documents: list[Payload]) -> tuple[int, int, int]:
    """Write recorded events in their recorded form; returns how many, and the head before and after."""
    written = 0
    with transaction.atomic(using=connection.alias), connection.cursor() as cursor:
        low = head = _first(cursor.execute("SELECT max(position) FROM eventlog_event"))
        for event in documents:
            if cursor.execute(TWIN, [event["event_id"].hex]).fetchone():
                continue
            head = max(head + 1, event["position"])
            at = _instant(event["recorded_at"])
            row = _row(head, event["stream"], event["stream_version"], event, event["metadata"], at)
            cursor.execute(INSERT, row)
            written += 1
    return written, low, head


def refresh_statistics(connection: BaseDatabaseWrapper) -> None:
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA optimize")


def _first(cursor) -> int:  # type: ignore[no-untyped-def]
    row = cursor.fetchone()
    return (row[0] or 0) if row else 0


def _instant(value: datetime) -> str:
    return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")


def _hex(value: str | None) -> str | None:
    return UUID(value).hex if value else None


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()
