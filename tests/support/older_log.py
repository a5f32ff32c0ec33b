"""Put the log back to an older state, as a restored backup of its database does."""

import sqlite3
from dataclasses import dataclass
from itertools import count
from typing import Any

from django.apps import apps
from django.db import connections, router

from tests.support.erase import lifted

_numbers = count(1)


@dataclass
class SavedLog:
    """The whole database of the log as it was: events, reservations, idempotency records, seals."""

    sqlite: sqlite3.Connection | None = None
    schema: str = ""
    position: int = 0

    def put_back(self) -> None:
        """Make the log what it was then. On PostgreSQL its owner could do this."""
        live = _live()
        if self.sqlite:
            self.sqlite.backup(live.connection)
            return
        with live.cursor() as cursor, lifted(cursor):
            for table in _tables():
                cursor.execute(f"DELETE FROM {table}")
                cursor.execute(f"INSERT INTO {table} OVERRIDING SYSTEM VALUE SELECT * FROM {self.schema}.{table}")
            cursor.execute("SELECT setval('eventlog_event_position_seq', %s)", [self.position])

    def forget(self) -> None:
        if self.sqlite:
            self.sqlite.close()
            return
        with _live().cursor() as cursor:
            cursor.execute(f"DROP SCHEMA {self.schema} CASCADE")


def save_log() -> SavedLog:
    """Keep the log as it is now; `forget` it at the end."""
    live = _live()
    if live.vendor == "sqlite":
        saved = SavedLog(sqlite3.connect(":memory:"))
        live.connection.backup(saved.sqlite)
        return saved
    with live.cursor() as cursor:
        schema = f"saved_{next(_numbers)}"
        cursor.execute(f"CREATE SCHEMA {schema}")
        for table in _tables():
            cursor.execute(f"CREATE TABLE {schema}.{table} AS TABLE {table}")
        cursor.execute("SELECT last_value FROM eventlog_event_position_seq")
        return SavedLog(schema=schema, position=cursor.fetchone()[0])


def _live() -> Any:
    connection = connections["eventlog"]
    connection.ensure_connection()
    return connection


def _tables() -> list[str]:
    return [model._meta.db_table for model in apps.get_models() if router.db_for_write(model) == "eventlog"]
