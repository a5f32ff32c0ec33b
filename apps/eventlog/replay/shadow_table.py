"""A table built beside a live one, to take its place in one transaction."""

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from django.apps.registry import Apps
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import Model
from django.db.models.base import ModelBase
from django.db.utils import OperationalError

SUFFIX = "__rebuild"
LOCK_NOT_AVAILABLE = "55P03"  # PostgreSQL's code
GIVE_UP = "100ms"  # readers that come while the live table is asked for wait so long at most
GIVE_UP_MAINTENANCE = "5s"  # PostgreSQL's own vacuum makes way after a second, one that somebody started does not

SORTING, USUAL = 16_000, 2_000  # kB of SQLite's cache: a tenth less time for indexes, and what it has by itself
BREATH = 0.01  # seconds, several looks of one who waits


class TableInUse(Exception):
    """A transaction of somebody else has had the live table or the new one open for too long."""


class Shadow:
    """The copy of a model's table under another name, empty at first and without secondary indexes.

    `model` writes to it. `index` and `replace` end with a table that has the indexes and
    constraints of the live one under their own names, so later migrations find what they expect.
    """

    def __init__(self, live: type[Model]) -> None:
        self.connection = connections[live._meta.app_label]
        self.engine = _SQLite(self.connection) if self.connection.vendor == "sqlite" else _PostgreSQL(self.connection)
        self.live = live._meta.db_table
        self.name = self.live + SUFFIX
        self.model = _model_of(live, self.name)

    def create(self) -> None:
        """Make the table anew, dropping what a killed rebuild may have left."""
        self._run(f'DROP TABLE IF EXISTS "{self.name}"', *self.engine.create(self.live, self.name))

    def index(self) -> None:
        """Build what can be built before the switch."""
        self.engine.index(self.live, self.name)

    def replace(self) -> None:
        """Take the live table's place, of which the caller's transaction has `hold`."""
        after = self.engine.rename_indexes(self.live)
        self._run(f'DROP TABLE "{self.live}"', f'ALTER TABLE "{self.name}" RENAME TO "{self.live}"', *after)

    def keep_maintenance_away(self) -> None:
        """No vacuum or the like at either table to the end of the caller's transaction, while others read and write.

        Raises `TableInUse`.
        """
        self._run(*self.engine.keep_maintenance_away(self.live, self.name))

    def hold(self) -> None:
        """Keep others from the live table to the end of the caller's transaction. Raises `TableInUse`.

        Whoever comes meanwhile queues behind this, so it gives up soon; the caller tries again.
        """
        self._run(*self.engine.hold(self.live))

    def drop(self) -> None:
        self._run(f'DROP TABLE IF EXISTS "{self.name}"')

    def _run(self, *statements: str) -> None:
        with self.connection.cursor() as cursor:
            try:
                for statement in statements:
                    cursor.execute(statement)
            except OperationalError as error:
                if getattr(error.__cause__, "sqlstate", None) != LOCK_NOT_AVAILABLE:
                    raise
                raise TableInUse(f"{self.live} is in use for long by another transaction") from error


class _SQLite:
    """Indexes are built beside under names of their own and renamed in the schema, as SQLite itself renames a table.

    See "Making Other Kinds Of Table Schema Changes" in SQLite's page on ALTER TABLE.
    """

    def __init__(self, connection: Any) -> None:
        self.connection = connection

    def create(self, live: str, name: str) -> list[str]:
        [(_, sql)] = self._master("table", live)
        return [sql.replace(f'"{live}"', f'"{name}"', 1)]

    def index(self, live: str, name: str) -> None:
        """Build the indexes one by one, and let those who wait to write in between."""
        with self.connection.cursor() as cursor:
            cursor.execute(f"PRAGMA cache_size = -{SORTING}")
            for index, sql in self._master("index", live):
                began = time.monotonic()
                beside = sql.replace(f'"{index}"', f'"{index}{SUFFIX}"', 1)
                cursor.execute(beside.replace(f' ON "{live}"', f' ON "{name}"', 1))
                time.sleep(min(BREATH, time.monotonic() - began))
            cursor.execute(f"PRAGMA cache_size = -{USUAL}")

    def keep_maintenance_away(self, live: str, name: str) -> list[str]:
        return []

    def hold(self, live: str) -> list[str]:
        return []  # a transaction is the only writer, and readers have their own snapshot

    def rename_indexes(self, live: str) -> list[str]:
        rename = "UPDATE sqlite_master SET name = '{0}', sql = replace(sql, '{0}{1}', '{0}') WHERE name = '{0}{1}'"
        return [
            "PRAGMA writable_schema = ON",
            *[rename.format(index, SUFFIX) for index, _ in self._master("index", live)],
            "PRAGMA writable_schema = RESET",
        ]

    def _master(self, kind: str, table: str) -> list[tuple[str, str]]:
        """Names and SQL; the index of a key has no SQL and comes with its table."""
        with self.connection.cursor() as cursor:
            cursor.execute(
                "SELECT name, sql FROM sqlite_master WHERE type = %s AND tbl_name = %s AND sql IS NOT NULL",
                [kind, table],
            )
            return cursor.fetchall()


class _PostgreSQL:
    """Indexes are built beside under names of their own and renamed in the switch."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection

    def create(self, live: str, name: str) -> list[str]:
        key = self._rows(
            "SELECT indexrelid::regclass::text FROM pg_index WHERE indrelid = %s::regclass AND indisprimary", live
        )[0][0]
        columns = ", ".join(self._columns(live, "indisprimary"))
        like = "INCLUDING ALL EXCLUDING INDEXES"
        return [
            f'CREATE TABLE "{name}" (LIKE "{live}" {like})',
            f'ALTER TABLE "{name}" ADD CONSTRAINT "{_beside(key)}" PRIMARY KEY ({columns})',
        ]

    def index(self, live: str, name: str) -> None:
        """Build the indexes in two halves at once, each by one process of the server.

        That takes a quarter to a third less time than one index after the other, each by as many as PostgreSQL likes.
        """
        indexes, others = self._definitions(live, name)
        halves = [self.connection.copy() for _ in range(2)]
        try:
            for half in halves:
                half.inc_thread_sharing()
                half.ensure_connection()
            with ThreadPoolExecutor(2) as threads:
                try:
                    at_work = [threads.submit(_alone, half, indexes[n::2]) for n, half in enumerate(halves)]
                    for work in at_work:
                        work.result()
                except BaseException:  # Ctrl-C too, which does not wait for an index
                    for half in halves:
                        half.connection.cancel_safe()
                    raise
        finally:
            for half in halves:
                half.close()
        with self.connection.cursor() as cursor:
            for statement in others:
                cursor.execute(statement)

    def _definitions(self, live: str, name: str) -> tuple[list[str], list[str]]:
        """Statements for all secondary indexes of the shadow, and for what comes when those are there."""
        indexes = self._rows(
            "SELECT i.indexrelid::regclass::text, pg_get_indexdef(i.indexrelid), c.conname FROM pg_index i"
            " LEFT JOIN pg_constraint c ON c.conindid = i.indexrelid AND c.contype = 'u'"
            " WHERE i.indrelid = %s::regclass AND NOT i.indisprimary",
            live,
        )
        statements, constraints = [], []
        for index, definition, constraint in indexes:
            beside, (_, method) = _beside(index), definition.split(" USING ", 1)
            unique = "UNIQUE " if definition.startswith("CREATE UNIQUE") else ""
            statements.append(f'CREATE {unique}INDEX "{beside}" ON "{name}" USING {method}')
            if constraint:
                constraints.append(f'ALTER TABLE "{name}" ADD CONSTRAINT "{beside}" UNIQUE USING INDEX "{beside}"')
        return statements, [*constraints, f'ANALYZE "{name}" ({", ".join(self._columns(live, "true"))})']

    def keep_maintenance_away(self, live: str, name: str) -> list[str]:
        return [
            f"SET LOCAL lock_timeout = '{GIVE_UP_MAINTENANCE}'",
            f'LOCK TABLE "{live}", "{name}" IN SHARE UPDATE EXCLUSIVE MODE',
            "SET LOCAL lock_timeout TO DEFAULT",  # what the transaction does next may have to wait for longer
        ]

    def hold(self, live: str) -> list[str]:
        return [f"SET LOCAL lock_timeout = '{GIVE_UP}'", f'LOCK TABLE "{live}" IN ACCESS EXCLUSIVE MODE']

    def rename_indexes(self, live: str) -> list[str]:
        names = self._rows("SELECT indexrelid::regclass::text FROM pg_index WHERE indrelid = %s::regclass", live)
        return [f'ALTER INDEX "{_beside(name)}" RENAME TO "{name}"' for (name,) in names]

    def _columns(self, table: str, which: str) -> list[str]:
        """Those that indexes are on, which are all that is searched by."""
        query = (
            "SELECT DISTINCT quote_ident(attname) FROM pg_index"  # noqa: S608
            " JOIN pg_attribute ON attrelid = indrelid AND attnum = ANY (indkey)"
            f" WHERE indrelid = %s::regclass AND {which}"
        )
        return [column for (column,) in self._rows(query, table)]

    def _rows(self, query: str, table: str) -> list[Any]:
        with self.connection.cursor() as cursor:
            cursor.execute(query, [table])
            return cursor.fetchall()


def _alone(connection: BaseDatabaseWrapper, statements: list[str]) -> None:
    """Run statements each by one process of the server."""
    with connection.cursor() as cursor:
        for statement in ["SET max_parallel_maintenance_workers = 0", *statements]:
            cursor.execute(statement)


def _beside(index: str) -> str:
    """The temporary name of an index; PostgreSQL's names have 63 bytes at most."""
    return index.strip('"')[: 63 - len(SUFFIX)] + SUFFIX


def _model_of(live: type[Model], table: str) -> type[Model]:
    """A model with the fields of another, in a table of another name."""
    fields = {field.name: field.clone() for field in live._meta.concrete_fields}
    options = {"app_label": live._meta.app_label, "db_table": table, "managed": False, "apps": Apps()}
    meta = type("Meta", (), options)
    model: Any = ModelBase(live.__name__, (Model,), {**fields, "Meta": meta, "__module__": live.__module__})
    return model
