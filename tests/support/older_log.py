"""Put the log back to an older state, as a restored backup of its database does."""

import sqlite3
from itertools import count
from typing import Any

from django.apps import apps
from django.db import connections, router

_numbers = count(1)


class SavedLog:
    """The whole database of the log as it was: events, reservations, idempotency records, seals.

    `live` is a connection of the driver to that database; on PostgreSQL a superuser's, which commits each statement.
    """

    def __init__(self, live: Any) -> None:
        self.live = live
        if isinstance(live, sqlite3.Connection):
            self.sqlite = sqlite3.connect(":memory:")
            live.backup(self.sqlite)
            return
        self.schema = f"saved_{next(_numbers)}"
        live.execute(f"CREATE SCHEMA {self.schema}")
        for table in _tables():
            live.execute(f"CREATE TABLE {self.schema}.{table} AS TABLE public.{table}")
        [self.position] = live.execute("SELECT last_value FROM eventlog_event_position_seq").fetchone()

    def put_back(self) -> None:
        """Make the log what it was then."""
        if isinstance(self.live, sqlite3.Connection):
            self.sqlite.backup(self.live)
            return
        tables = (
            f"DELETE FROM {table}; INSERT INTO {table} OVERRIDING SYSTEM VALUE SELECT * FROM {self.schema}.{table};"
            for table in _tables()
        )
        self.live.execute(
            f"BEGIN; SET LOCAL session_replication_role = replica; {' '.join(tables)}"
            f" SELECT setval('eventlog_event_position_seq', {self.position}); COMMIT"
        )

    def forget(self) -> None:
        if isinstance(self.live, sqlite3.Connection):
            self.sqlite.close()
            return
        self.live.execute(f"DROP SCHEMA {self.schema} CASCADE")


def save_log() -> SavedLog:
    """Keep the log of this process as it is now; `forget` it at the end."""
    connections["eventlog"].ensure_connection()
    return SavedLog(connections["eventlog"].connection)


def _tables() -> list[str]:
    return [model._meta.db_table for model in apps.get_models() if router.db_for_write(model) == "eventlog"]
