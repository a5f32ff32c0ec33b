"""Shadow tables on PostgreSQL."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper

from apps.eventlog.replay.shadow_engine import SUFFIX

LONGEST_NAME = 63  # bytes
LOCK_TIMEOUT = "100ms"  # readers who come while the lock is asked for wait at most this long
MAINTENANCE_TIMEOUT = "5s"  # autovacuum makes way within a second; a VACUUM that somebody has started does not


class PostgreSQL:
    """Indexes get temporary names, and their own names when the shadow table replaces the live one."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection

    def create(self, live: str, shadow: str) -> list[str]:
        [(key,)] = self._rows(
            "SELECT indexrelid::regclass::text FROM pg_index WHERE indrelid = %s::regclass AND indisprimary", live
        )
        columns = ", ".join(self._indexed_columns(live, "indisprimary"))
        like = "INCLUDING ALL EXCLUDING INDEXES"
        return [
            f'CREATE TABLE "{shadow}" (LIKE "{live}" {like})',
            f'ALTER TABLE "{shadow}" ADD CONSTRAINT "{_temporary_name(key)}" PRIMARY KEY ({columns})',
        ]

    def build_indexes(self, live: str, shadow: str) -> None:
        """Build the indexes over two connections at once, each index by one process of the server.

        That takes a quarter to a third less time than to build them one after the other, with as many processes for
        each as PostgreSQL chooses.
        """
        indexes, constraints = self._definitions(live, shadow)
        helpers = [self.connection.copy() for _ in range(2)]
        try:
            for helper in helpers:
                helper.inc_thread_sharing()
                helper.ensure_connection()
            _build_at_once(helpers, indexes)
        finally:
            for helper in helpers:
                helper.close()
        # Queries search by indexed columns alone, so no other column needs statistics.
        analyze = f'ANALYZE "{shadow}" ({", ".join(self._indexed_columns(live, "true"))})'
        with self.connection.cursor() as cursor:
            for statement in [*constraints, analyze]:
                cursor.execute(statement)

    def keep_maintenance_away(self, live: str, shadow: str) -> list[str]:
        [(usual,)] = self._rows("SELECT current_setting('lock_timeout') WHERE %s::regclass IS NOT NULL", live)
        return [
            f"SET LOCAL lock_timeout = '{MAINTENANCE_TIMEOUT}'",
            f'LOCK TABLE "{live}", "{shadow}" IN SHARE UPDATE EXCLUSIVE MODE',
            f"SET LOCAL lock_timeout = '{usual}'",  # the transaction's next statements may have to wait for longer
        ]

    def lock(self, live: str) -> list[str]:
        return [f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'", f'LOCK TABLE "{live}" IN ACCESS EXCLUSIVE MODE']

    def rename_indexes(self, live: str) -> list[str]:
        names = self._rows("SELECT indexrelid::regclass::text FROM pg_index WHERE indrelid = %s::regclass", live)
        return [f'ALTER INDEX "{_temporary_name(name)}" RENAME TO "{name}"' for (name,) in names]

    def _definitions(self, live: str, shadow: str) -> tuple[list[str], list[str]]:
        """Statements for the secondary indexes of the shadow table, and for the constraints that use these indexes."""
        found = self._rows(
            "SELECT i.indexrelid::regclass::text, pg_get_indexdef(i.indexrelid), c.conname FROM pg_index i"
            " LEFT JOIN pg_constraint c ON c.conindid = i.indexrelid AND c.contype = 'u'"
            " WHERE i.indrelid = %s::regclass AND NOT i.indisprimary",
            live,
        )
        indexes, constraints = [], []
        for index, definition, constraint in found:
            name, (_, method) = _temporary_name(index), definition.split(" USING ", 1)
            unique = "UNIQUE " if definition.startswith("CREATE UNIQUE") else ""
            indexes.append(f'CREATE {unique}INDEX "{name}" ON "{shadow}" USING {method}')
            if constraint:
                constraints.append(f'ALTER TABLE "{shadow}" ADD CONSTRAINT "{name}" UNIQUE USING INDEX "{name}"')
        return indexes, constraints

    def _indexed_columns(self, table: str, condition: str) -> list[str]:
        """The columns of those indexes of a table that meet a condition, ready for SQL."""
        query = (
            "SELECT DISTINCT quote_ident(attname) FROM pg_index"  # noqa: S608
            " JOIN pg_attribute ON attrelid = indrelid AND attnum = ANY (indkey)"
            f" WHERE indrelid = %s::regclass AND {condition}"
        )
        return [column for (column,) in self._rows(query, table)]

    def _rows(self, query: str, table: str) -> list[Any]:
        with self.connection.cursor() as cursor:
            cursor.execute(query, [table])
            return cursor.fetchall()


def _build_at_once(helpers: list[BaseDatabaseWrapper], indexes: list[str]) -> None:
    with ThreadPoolExecutor(len(helpers)) as threads:
        try:
            shares = [indexes[number :: len(helpers)] for number in range(len(helpers))]
            for done in [threads.submit(_build, *share) for share in zip(helpers, shares, strict=True)]:
                done.result()
        except BaseException:  # Ctrl-C too: without the cancelling, it would wait for the end of an index
            for helper in helpers:
                helper.connection.cancel_safe()
            raise


def _build(connection: BaseDatabaseWrapper, indexes: list[str]) -> None:
    connection.set_autocommit(False)  # the setting is for this transaction: a pooler gives the session to others
    for index in indexes:
        with connection.cursor() as cursor:
            for statement in ("SET LOCAL max_parallel_maintenance_workers = 0", index):
                cursor.execute(statement)
        connection.commit()


def _temporary_name(index: str) -> str:
    """The name of the shadow table's index until the shadow table replaces the live one."""
    return index.strip('"')[: LONGEST_NAME - len(SUFFIX)] + SUFFIX
