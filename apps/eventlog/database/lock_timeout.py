"""How long a statement waits for another writer of its database."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from django.core.exceptions import ImproperlyConfigured
from django.db import OperationalError, connections

from apps.eventlog.database.sqlite.base import DatabaseWrapper


class Locked(Exception):
    """Another process has written to the SQLite database for longer than the caller would wait."""


@contextmanager
def lock_timeout(alias: str, seconds: float | None) -> Iterator[None]:
    """Let the statements of this block wait at most `seconds` for SQLite's one writer; None changes nothing.

    On PostgreSQL the block changes nothing: there each row has its own lock, and the callers skip locked rows.
    Raises `Locked`.
    """
    connection = connections[alias]
    if seconds is None or connection.vendor != "sqlite":
        yield
        return
    if not isinstance(connection, DatabaseWrapper):
        raise ImproperlyConfigured(f"the ENGINE of {alias} must be apps.eventlog.database.sqlite")
    usual, connection.lock_timeout = connection.lock_timeout, seconds
    try:
        yield
    except OperationalError as error:
        if getattr(error.__cause__, "sqlite_errorcode", None) != sqlite3.SQLITE_BUSY:
            raise
        raise Locked(alias) from error
    finally:
        connection.lock_timeout = usual
