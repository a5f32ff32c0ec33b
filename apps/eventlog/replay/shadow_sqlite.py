"""Shadow tables on SQLite."""

import time
from typing import Any

from apps.eventlog.replay.shadow_engine import SUFFIX

SORTING_CACHE, USUAL_CACHE = 16_000, 2_000  # kB; sorting in more memory builds the indexes in a tenth less time
PAUSE = 0.01  # seconds at most; in this time a waiting writer looks for the lock several times


class SQLite:
    """Indexes are renamed by editing SQLite's own schema table, as SQLite does it when it renames a table.

    See "Making Other Kinds Of Table Schema Changes" in SQLite's page on ALTER TABLE.
    """

    def __init__(self, connection: Any) -> None:
        self.connection = connection

    def create(self, live: str, shadow: str) -> list[str]:
        [(_, sql)] = self._schema("table", live)
        return [sql.replace(f'"{live}"', f'"{shadow}"', 1)]

    def build_indexes(self, live: str, shadow: str) -> None:
        """Pause after each index: a writer that waits could not get the lock in between otherwise."""
        with self.connection.cursor() as cursor:
            cursor.execute(f"PRAGMA cache_size = -{SORTING_CACHE}")
            for index, sql in self._schema("index", live):
                began = time.monotonic()
                renamed = sql.replace(f'"{index}"', f'"{index}{SUFFIX}"', 1)
                cursor.execute(renamed.replace(f' ON "{live}"', f' ON "{shadow}"', 1))
                time.sleep(min(PAUSE, time.monotonic() - began))
            cursor.execute(f"PRAGMA cache_size = -{USUAL_CACHE}")

    def keep_maintenance_away(self, live: str, shadow: str) -> list[str]:
        return []  # nothing but a writer's own statements maintains a table

    def lock(self, live: str) -> list[str]:
        return []  # a transaction is the only writer, and each reader has a snapshot of its own

    def rename_indexes(self, live: str) -> list[str]:
        rename = "UPDATE sqlite_master SET name = '{0}', sql = replace(sql, '{0}{1}', '{0}') WHERE name = '{0}{1}'"
        return [
            "PRAGMA writable_schema = ON",
            *[rename.format(index, SUFFIX) for index, _ in self._schema("index", live)],
            "PRAGMA writable_schema = RESET",
        ]

    def _schema(self, kind: str, table: str) -> list[tuple[str, str]]:
        """The names and the SQL of a table or its indexes. The index of a key has no SQL: it comes with its table."""
        with self.connection.cursor() as cursor:
            cursor.execute(
                "SELECT name, sql FROM sqlite_master WHERE type = %s AND tbl_name = %s AND sql IS NOT NULL",
                [kind, table],
            )
            return cursor.fetchall()
