"""Attempts to take an event in are counted before they begin, so that one that ends the process is found out.

A checkpoint's `attempts` are those begun from its position and not ended. One that did not end leaves
its count behind; whoever comes next takes the events of that batch singly, and the one that is tried
`LIMIT` times without an end is set aside.
"""

import sqlite3
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import NamedTuple

from django.db import Error, OperationalError, connections
from django.utils import timezone

from apps.eventlog import checkpoints
from apps.eventlog.statements import marks, rows, run

LIMIT = 3
GRACE = 0.5  # seconds in which a living process that has begun takes the checkpoint or gives up its attempt


class Locked(Exception):
    """Somebody else has written to the service's database, on SQLite, for longer than the caller would wait."""


class ProcessEnded(Exception):
    """An event was tried again and again, and each time the process ended in the middle of it."""

    def __init__(self) -> None:
        super().__init__(f"{LIMIT} times")


class Attempt(NamedTuple):
    """The next attempt of one projector from a position; `attempts` counts it and those that did not end."""

    name: str
    position: int
    attempts: int
    singly_until: int

    @property
    def singly(self) -> bool:
        return self.singly_until > self.position

    @property
    def doubtful(self) -> bool:
        return self.attempts > 1 or self.singly


@dataclass(slots=True)
class Held:
    """A checkpoint that is locked, and where it stands."""

    name: str
    position: int


def begin(service: str, names: Sequence[str], lock_timeout: float | None = None) -> list[Attempt]:
    """Count an attempt for each of these projectors (or reactors) whose checkpoint nobody holds, committed at once.

    On PostgreSQL the commit is not waited for: a process that dies does not take it along, only a server does.
    Given `lock_timeout`, in seconds, raises `Locked` where another is SQLite's one writer for longer.
    """
    table, columns = checkpoints.table(service), ", ".join(Attempt._fields)
    if connections[service].vendor == "postgresql":
        columns += ", set_config('synchronous_commit', 'off', true)"
    free = f"SELECT name FROM {table} WHERE name IN {marks(names)}{_lock(service)}"  # noqa: S608
    counted = f"UPDATE {table} SET attempts = attempts + 1 WHERE name IN ({free}) RETURNING {columns}"  # noqa: S608
    with connections[service].cursor() as cursor:
        if lock_timeout is not None and connections[service].vendor == "sqlite":
            cursor.cursor.timeout = lock_timeout  # of this statement alone, see config.sqlite
        try:
            cursor.execute(counted, names)
        except OperationalError as error:
            if lock_timeout is None or getattr(error.__cause__, "sqlite_errorcode", None) != sqlite3.SQLITE_BUSY:
                raise
            raise Locked(service) from error
        return [Attempt(*row[:4]) for row in cursor.fetchall()]


def withdraw(service: str, begun: Sequence[Attempt]) -> None:
    """Give up attempts whose process lives on."""
    back = f"UPDATE {checkpoints.table(service)} SET attempts = attempts - 1"  # noqa: S608
    with suppress(Error), connections[service].cursor() as cursor:  # where the database fails, they stay counted
        cursor.executemany(
            f"{back} WHERE name = %s AND position = %s AND attempts > 0", [(one.name, one.position) for one in begun]
        )


def hold(service: str, begun: Sequence[Attempt]) -> list[Held]:
    """Lock the checkpoints in the open transaction, by position; without those that another has, or has moved."""
    positions = {one.name: one.position for one in begun}
    if not positions:
        return []
    free = (
        f"SELECT name, position FROM {checkpoints.table(service)} WHERE name IN {marks(positions)}"  # noqa: S608
        f" ORDER BY position{_lock(service)}"
    )
    held = [Held(*row) for row in rows(service, free, list(positions))]
    return [checkpoint for checkpoint in held if checkpoint.position == positions[checkpoint.name]]


def end(service: str, held: Sequence[Held], position: int) -> None:
    """Move held checkpoints, with no attempt open."""
    for checkpoint in held:
        checkpoint.position = position
    move(service, [checkpoint.name for checkpoint in held], position)


def move(service: str, names: Sequence[str], position: int) -> None:
    """Move these checkpoints on to a position, with no attempt open; those that are beyond it stay."""
    now = connections[service].ops.adapt_datetimefield_value(timezone.now())
    run(
        service,
        f"UPDATE {checkpoints.table(service)} SET position = %s, attempts = 0, updated_at = %s"  # noqa: S608
        f" WHERE position <= %s AND name IN {marks(names)}",
        [position, now, position, *names],
    )


def _lock(service: str) -> str:
    """Lock the rows that nobody else has locked; on SQLite a transaction that writes has everything."""
    return " FOR UPDATE SKIP LOCKED" if connections[service].vendor == "postgresql" else ""


def go_singly(service: str, begun: Attempt, until: int) -> Attempt:
    """From here to the end of a batch that did not end, each event has a count of its own."""
    rows = checkpoints.checkpoint_model(service).objects.filter(name=begun.name, position=begun.position)
    rows.update(attempts=1, singly_until=until)
    return begun._replace(attempts=1, singly_until=until)


def hopeless(service: str, begun: Attempt, grace: float = GRACE) -> bool:
    """Has this been tried `LIMIT` times without an end?

    Waits `grace` seconds, in which the living end their attempts, so that only those of the dead are counted.
    """
    if begun.attempts <= LIMIT:
        return False
    withdraw(service, [begun])
    time.sleep(grace)
    rows = checkpoints.checkpoint_model(service).objects.filter(name=begun.name, position=begun.position)
    return rows.filter(attempts__gte=LIMIT).exists()
