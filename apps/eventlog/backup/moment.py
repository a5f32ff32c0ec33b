"""The instant of a backup: every database is looked at as of nearly the same instant, in an order that holds.

1. The read databases and that of the processes come first. So the log, which comes later, has every event that their
   rows and checkpoints know, and `default` has everything that their reactors had done up to their checkpoints. What
   was not done yet is done after a restore.
2. `default` comes before the log, so that the log has everything of which `default` knows the place.
3. The log comes before the keys, because a data key is on disk before anything is encrypted with it.

Two things go the other way, within milliseconds. A login is made before the event of a registration, so `default` could
lack the login of a user that the log has. An erasure destroys a data key after its event, so a key could be destroyed
although the log knows of no erasure. Both can be told from the copies, and then `default`, log and keys are looked at
again.
"""

import time
from collections.abc import Iterable, Mapping

from django.contrib.auth import get_user_model
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

from apps.eventlog import store
from apps.eventlog.backup.database_copy import CannotCopy, DatabaseCopy
from apps.eventlog.database import statements
from apps.eventlog.encryption import data_keys
from apps.eventlog.log import queries

DEFAULT, LOG, KEYS = "default", store.ALIAS, data_keys.ALIAS
LAST = (DEFAULT, LOG, KEYS)
PATIENCE = 60.0  # seconds in which registrations and erasures may leave no quiet moment
BATCH = 500  # names in one query


def copies_of(aliases: Iterable[str]) -> dict[str, DatabaseCopy]:
    """Copies of these databases in the order in which they are looked at: read databases, `default`, log, keys."""
    given = list(aliases)
    order = [*(alias for alias in given if alias not in LAST), *(alias for alias in LAST if alias in given)]
    return {alias: _copy_of(connections[alias]) for alias in order}


def _copy_of(connection: BaseDatabaseWrapper) -> DatabaseCopy:
    """Only the module of its engine is loaded, so a deployment on SQLite does not need psycopg."""
    if connection.vendor == "sqlite":
        from apps.eventlog.backup.copy_sqlite import SQLiteCopy  # noqa: PLC0415

        return SQLiteCopy(connection)
    from apps.eventlog.backup.copy_postgresql import PostgreSQLCopy  # noqa: PLC0415

    return PostgreSQLCopy(connection)


def freeze(copies: Mapping[str, DatabaseCopy]) -> None:
    """Look at all databases as of one instant; they come in the order of `copies_of`. Raises `CannotCopy`."""
    for copy in copies.values():
        copy.freeze()  # the last ones too, so that their sessions are there when it must be quick
    deadline = time.monotonic() + PATIENCE
    while True:
        known, destroyed = store.safe_position(), data_keys.destroyed()
        for alias in LAST:
            copies[alias].freeze()
        if not (_erased_between(copies[KEYS], destroyed) or _registered_between(copies, known)):
            return
        if time.monotonic() > deadline:
            raise CannotCopy("registrations or erasures left no quiet moment for the copy: try again")


def _erased_between(keys: DatabaseCopy, before: int) -> bool:
    """Was a key destroyed since? It never comes back, so a count tells."""
    return keys.rows(data_keys.COUNT_DESTROYED) != [(before,)]


def _registered_between(copies: Mapping[str, DatabaseCopy], known: int) -> bool:
    """Has a new stream beyond a position a login that the copy of `default` lacks?"""
    new = [stream.partition("-")[2] for (stream,) in copies[LOG].rows(*queries.streams_begun_after(known))]
    for start in range(0, len(new), BATCH):
        names = new[start : start + BATCH]
        user = get_user_model()
        logins = user.objects.filter(username__in=names).count()
        copied = f"SELECT count(*) FROM {user._meta.db_table} WHERE username IN {statements.marks(names)}"  # noqa: S608
        if copies[DEFAULT].rows(copied, names) != [(logins,)]:
            return True
    return False
