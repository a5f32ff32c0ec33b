"""Copies of SQLite files that others write to, by SQLite's own backup.

To copy the file itself is wrong: in WAL mode, what was committed last is in another file, and a copy of both is of two
instants.
"""

import os
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote

from django.db.backends.base.base import BaseDatabaseWrapper

from apps.eventlog.backup.database_copy import CannotCopy, Progress
from apps.eventlog.backup.manifest import private

PAGES = 256  # copied in one step
TIMEOUT = 20.0  # seconds to wait for a writer


class SQLiteCopy:
    """See `DatabaseCopy`. A reader in WAL mode keeps its instant, and writers go on."""

    engine, suffix = "sqlite", "sqlite3"

    def __init__(self, connection: BaseDatabaseWrapper) -> None:
        self.file = Path(connection.settings_dict["NAME"])
        self.frozen: sqlite3.Connection | None = None

    def freeze(self) -> None:
        self.release()
        if not self.file.exists():
            raise CannotCopy(f"{self.file} is not there: run manage.py migrate first")
        try:
            self.frozen = _open(self.file)
            self.frozen.execute("BEGIN")
            self.frozen.execute(
                "SELECT count(*) FROM sqlite_master"
            ).fetchone()  # the instant is that of the first read
        except sqlite3.Error as error:
            raise CannotCopy(f"{self.file} cannot be read: {error}") from error

    def rows(self, statement: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        assert self.frozen is not None  # noqa: S101
        return self.frozen.execute(statement.replace("%s", "?"), parameters).fetchall()

    def write(self, file: Path, progress: Progress) -> None:
        assert self.frozen is not None  # noqa: S101
        private(file).close()
        try:
            with closing(sqlite3.connect(file)) as copy:
                _copy(self.frozen, copy, progress)
                copy.execute("PRAGMA journal_mode = DELETE")  # so that the copy is one file
                [found] = copy.execute("PRAGMA quick_check(1)").fetchone()
        except sqlite3.Error as error:
            raise CannotCopy(f"{self.file} cannot be copied: {error}") from error
        if found != "ok":
            raise CannotCopy(f"{self.file} is damaged: {found}")
        with file.open("rb") as written:
            os.fsync(written.fileno())

    def release(self) -> None:
        if self.frozen is not None:
            self.frozen.close()
        self.frozen = None

    def version(self) -> str:
        return sqlite3.sqlite_version

    def roles(self) -> list[str]:
        return []

    def obstacle(self) -> str:
        """A file in WAL mode leaves that mode only if nobody else has it open."""
        if not self.file.exists():
            return ""
        try:
            with closing(_open(self.file, timeout=0)) as alone:
                alone.execute("PRAGMA journal_mode = DELETE")
        except sqlite3.OperationalError as error:
            return f"{self.file} is in use ({error}): stop all servers and workers"
        return ""

    def replace(self, file: Path, roles: Sequence[str], progress: Progress) -> str:
        if not self.file.exists():
            private(self.file).close()
        try:
            with closing(_open(file, "mode=ro")) as copy, closing(_open(self.file)) as target:
                target.execute("PRAGMA journal_mode = DELETE")  # one transaction over the whole file
                _copy(copy, target, progress)
        except sqlite3.Error as error:
            raise CannotCopy(f"{self.file} cannot be replaced: {error}") from error
        return ""


def _open(file: Path, mode: str = "mode=rw", *, timeout: float = TIMEOUT) -> sqlite3.Connection:
    """A connection without a transaction. A file that is not there is not made."""
    return sqlite3.connect(
        f"file:{quote(str(file.absolute()))}?{mode}", uri=True, isolation_level=None, timeout=timeout
    )


def _copy(source: sqlite3.Connection, target: sqlite3.Connection, progress: Progress) -> None:
    [size] = source.execute("PRAGMA page_size").fetchone()
    done = 0

    def tell(status: int, left: int, total: int) -> None:
        nonlocal done
        progress((total - left - done) * size)
        done = total - left

    source.backup(target, pages=PAGES, progress=tell)
