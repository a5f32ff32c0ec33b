"""The log on PostgreSQL: one SQL function each for appending, the safe position and importing.

The functions, made by a migration, hold the in-flight marks that keep followers from skipping
events, so an append is one round trip and needs no INSERT right.
"""

import msgspec
from django.db.backends.base.base import BaseDatabaseWrapper

from apps.eventlog.events import Payload


def append(
    connection: BaseDatabaseWrapper, stream: str, expected_version: int, events: list[Payload], metadata: Payload
) -> tuple[str, int, int]:
    """Append in one statement; returns (outcome, position, version), see `store.append`."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT outcome, last_position, last_version FROM eventlog_append(%s, %s, %s::jsonb, %s::jsonb)",
            [stream, expected_version, _json(events), _json(metadata)],
        )
        outcome, position, version = cursor.fetchone()
    return outcome, position, version


def safe_position(connection: BaseDatabaseWrapper) -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT eventlog_safe_position()")
        return cursor.fetchone()[0]


def restore(connection: BaseDatabaseWrapper, documents: list[Payload]) -> tuple[int, int, int]:
    """Write recorded events in their recorded form; returns how many, and the head before and after."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT written, low, head FROM eventlog_import(%s::jsonb)", [_json(documents)])
        return cursor.fetchone()


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()
