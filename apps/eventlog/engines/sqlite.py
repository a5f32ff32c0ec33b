"""The log on SQLite: one writer at a time, so positions become visible in their order."""

from datetime import UTC, datetime
from uuid import UUID

import msgspec
from django.db import transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from apps.eventlog.events import Payload

INSERT = """
INSERT INTO eventlog_event (position, event_id, stream, stream_version, category, type,
                            schema_version, data, metadata, correlation_id, recorded_at)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
""".replace("?", "%s")
LAST_OF_STREAM = "SELECT stream_version FROM eventlog_event WHERE stream = %s ORDER BY stream_version DESC LIMIT 1"
HEAD = "SELECT position, CAST(recorded_at AS text) FROM eventlog_event ORDER BY position DESC LIMIT 1"
TWIN = "SELECT position, stream, stream_version, type, data FROM eventlog_event WHERE event_id = %s"


def append(
    connection: BaseDatabaseWrapper, stream: str, expected_version: int, events: list[Payload], metadata: Payload
) -> tuple[str, int, int]:
    """Append under the write lock; returns (outcome, position, version), see `store.append`."""
    with transaction.atomic(using=connection.alias), connection.cursor() as cursor:
        version = _first(cursor.execute(LAST_OF_STREAM, [stream]))
        twins = [twin for event in events for twin in cursor.execute(TWIN, [event["event_id"].hex]).fetchall()]
        if twins:
            same = [
                (t_stream, t_type, msgspec.json.decode(t_data)) == (stream, event["type"], event["data"])
                for (_, t_stream, _, t_type, t_data), event in zip(twins, events, strict=False)
            ]
            repeated = len(twins) == len(events) and all(same)
            return ("repeated" if repeated else "taken"), twins[-1][0], twins[-1][2]
        if version != expected_version:
            return "conflict", 0, version
        head, latest = cursor.execute(HEAD).fetchone() or (0, "")
        # Never earlier than the event before, so the log's order and its clock agree.
        now = max(latest, _instant(datetime.now(UTC)))
        rows = [
            (
                head + number,
                event["event_id"].hex,
                stream,
                version + number,
                stream.partition("-")[0],
                event["type"],
                event["schema_version"],
                _json(event["data"]),
                _json(metadata),
                _hex(metadata.get("correlation_id")),
                now,
            )
            for number, event in enumerate(events, start=1)
        ]
        cursor.executemany(INSERT, rows)
    return "appended", head + len(rows), version + len(rows)


def safe_position(connection: BaseDatabaseWrapper) -> int:
    with connection.cursor() as cursor:
        return _first(cursor.execute("SELECT max(position) FROM eventlog_event"))


def restore(connection: BaseDatabaseWrapper, documents: list[Payload]) -> int:
    """Write recorded events in their recorded form; returns how many were not there yet."""
    written = 0
    with transaction.atomic(using=connection.alias), connection.cursor() as cursor:
        head = _first(cursor.execute("SELECT max(position) FROM eventlog_event"))
        for event in documents:
            if cursor.execute(TWIN, [event["event_id"].hex]).fetchone():
                continue
            head = max(head + 1, event["position"])
            row = [
                head,
                event["event_id"].hex,
                event["stream"],
                event["stream_version"],
                event["stream"].partition("-")[0],
                event["type"],
                event["schema_version"],
                _json(event["data"]),
                _json(event["metadata"]),
                _hex(event["metadata"].get("correlation_id")),
                _instant(event["recorded_at"]),
            ]
            cursor.execute(INSERT, row)
            written += 1
    return written


def _first(cursor) -> int:  # type: ignore[no-untyped-def]
    row = cursor.fetchone()
    return (row[0] or 0) if row else 0


def _instant(value: datetime) -> str:
    return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")


def _hex(value: str | None) -> str | None:
    return UUID(value).hex if value else None


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()
