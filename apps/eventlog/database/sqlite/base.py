"""Django's SQLite backend, with two differences.

SQL has a clock that never goes back, `now_after`. A statement that finds the database locked tries again every 2 ms:
SQLite's own wait sleeps longer and longer, up to 100 ms at a time. A process that writes one transaction after
another, as a rebuild does, releases the lock for shorter than that, and so keeps others waiting for long.
"""

import sqlite3
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any

from django.db.backends.sqlite3 import base
from django.db.backends.sqlite3.operations import DatabaseOperations

from apps.eventlog.database.private_files import make_private

PAUSE = 0.002  # seconds
# SQLITE_BUSY_SNAPSHOT is not among them: a transaction that has read old data can never write.
PASSING = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_BUSY_RECOVERY}


@lru_cache(maxsize=128)
def _with_marks(query: str) -> str:
    """The query with `?` for `%s`. Django converts it at each call, which can take longer than the statement itself."""
    return base.FORMAT_QMARK_REGEX.sub("?", query).replace("%%", "%")


def _now_after(latest: str | None) -> str:
    """`now_after(latest)` in SQL: now, as the log writes instants; just after the latest one if the clock went back."""
    now = datetime.now(UTC).replace(tzinfo=None).isoformat(" ", "microseconds")
    if latest is None or latest < now:
        return now
    return (datetime.fromisoformat(latest) + timedelta(microseconds=1)).isoformat(" ", "microseconds")


class Cursor(base.SQLiteCursorWrapper):
    timeout: float

    def convert_query(self, query: str, *, param_names: list[str] | None = None) -> str:
        return super().convert_query(query, param_names=param_names) if param_names else _with_marks(query)

    def execute(self, query: str, params: Any = None) -> Any:
        return self._with_retries(lambda: super(Cursor, self).execute(query, params))

    def executemany(self, query: str, param_list: Any) -> Any:
        rows = list(param_list)
        return self._with_retries(lambda: super(Cursor, self).executemany(query, rows))

    def _with_retries(self, work: Callable[[], Any]) -> Any:
        """Try again while the database is locked, but never repeat work that has changed something already."""
        changes, deadline = self.connection.total_changes, time.monotonic() + self.timeout
        while True:
            try:
                return work()
            except sqlite3.OperationalError as error:
                passing = getattr(error, "sqlite_errorcode", None) in PASSING  # the module's own errors have no code
                if not passing or self.connection.total_changes > changes or time.monotonic() > deadline:
                    raise
            time.sleep(PAUSE)


class Operations(DatabaseOperations):
    def last_executed_query(self, cursor: Any, sql: str, params: Any) -> str:
        """The statement as instruments show it; that of `executemany` with its first row, where Django itself fails."""
        many = isinstance(params, list | tuple) and params and isinstance(params[0], list | tuple)
        return super().last_executed_query(cursor, sql, params[0] if many else params)


class DatabaseWrapper(base.DatabaseWrapper):
    """`timeout` among the OPTIONS is how many seconds a statement waits for a lock; `lock_timeout` overrides it."""

    ops_class = Operations
    lock_timeout: float | None = None

    def get_new_connection(self, conn_params: dict[str, Any]) -> sqlite3.Connection:
        if not str(conn_params["database"]).startswith((":", "file:")):
            make_private(Path(conn_params["database"]))  # SQLite gives its other files the rights of this one
        connection = super().get_new_connection(conn_params)
        connection.execute(f"PRAGMA busy_timeout = {1000 * PAUSE:.0f}")
        connection.create_function("now_after", 1, _now_after)
        return connection

    def create_cursor(self, name: str | None = None) -> Cursor:
        cursor = self.connection.cursor(factory=Cursor)
        usual = self.settings_dict["OPTIONS"].get("timeout", 5.0)
        cursor.timeout = usual if self.lock_timeout is None else self.lock_timeout
        return cursor
