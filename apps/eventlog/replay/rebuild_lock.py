"""The lock that keeps a second rebuild of a projector away. It ends with the process that holds it."""

import fcntl
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from django.db import Error, OperationalError, connections

from apps.eventlog.database import statements
from apps.eventlog.database.private_files import make_private
from apps.eventlog.database.transaction_timeout import is_pooled
from apps.eventlog.errors.texts import Impersonal, without_values
from apps.eventlog.projectors import Projector

Require = Callable[[], None]


class AlreadyRunning(Impersonal):
    """Another process is rebuilding this projector."""


class NoSessionLeft(AlreadyRunning):
    """The pooler has a session for the lock and none for the work."""


@contextmanager
def one_rebuild_at_a_time(kind: type[Projector]) -> Iterator[Require]:
    """Take the lock; yields what raises if it was lost. Raises `AlreadyRunning`.

    A pooler lends a session for one transaction, so there a transaction that stays open holds the lock. Both kinds of
    lock on PostgreSQL keep each other away, so some processes may come by a pooler and others not.
    """
    connection = connections[kind.service]
    if connection.vendor == "sqlite":
        lock = _by_file(kind, f"{connection.settings_dict['NAME']}.{kind.name}.lock")
    else:
        lock = _by_transaction(kind, connection.copy()) if is_pooled(connection) else _by_session(kind, connection)
    with lock as require:
        yield require


@contextmanager
def _by_file(kind: type[Projector], name: str) -> Iterator[Require]:
    file = Path(name)
    make_private(file)
    with file.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise _busy(kind) from None
        yield lambda: None


@contextmanager
def _by_session(kind: type[Projector], connection: Any) -> Iterator[Require]:
    """If the session ends, so does this rebuild, which uses the same one."""
    with connection.cursor() as cursor:
        _take(kind, cursor, "pg_try_advisory_lock")
        try:
            yield lambda: None
        finally:
            cursor.execute("SELECT pg_advisory_unlock(hashtext(%s))", [_name(kind)])


@contextmanager
def _by_transaction(kind: type[Projector], connection: Any) -> Iterator[Require]:
    """It reads nothing that stays, so it keeps no vacuum back."""
    try:
        connection.set_autocommit(False)
        with connection.cursor() as cursor:
            for limit in ("idle_in_transaction_session_timeout", "statement_timeout"):
                cursor.execute(f"SET LOCAL {limit} = 0")
            _take(kind, cursor, "pg_try_advisory_xact_lock")
            _require_another_session(kind)
            yield lambda: cursor.execute("SELECT")
    finally:
        with suppress(Error):
            connection.rollback()
        connection.close()


def _require_another_session(kind: type[Projector]) -> None:
    try:
        statements.run(kind.service, "SELECT")
    except OperationalError as error:
        raise NoSessionLeft(
            f"{kind.name}: the pooler gave its lock a session and gave none for the work ({without_values(error)}): "
            "it needs 2 or more for this database (default_pool_size)"
        ) from error


def _take(kind: type[Projector], cursor: Any, function: str) -> None:
    cursor.execute(f"SELECT {function}(hashtext(%s))", [_name(kind)])
    if not cursor.fetchone()[0]:
        raise _busy(kind)


def _busy(kind: type[Projector]) -> AlreadyRunning:
    return AlreadyRunning(f"{kind.name} is being rebuilt by another process")


def _name(kind: type[Projector]) -> str:
    return f"rebuild {kind.name}"
