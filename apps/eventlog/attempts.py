"""Attempts to take an event in are counted before they begin, so that one that ends the process is found out.

A checkpoint's `attempts` are those begun from its position and not ended. One that did not end leaves
its count behind; whoever comes next takes the events of that batch singly, and the one that is tried
`LIMIT` times without an end is set aside.
"""

import time
from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple

from django.db import Error, connections
from django.utils import timezone

from apps.eventlog import checkpoints
from apps.eventlog.models import Checkpoint

LIMIT = 3
GRACE = 0.5  # seconds in which a living process that has begun takes the checkpoint or gives up its attempt


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


def begin(service: str, names: Sequence[str]) -> list[Attempt]:
    """Count an attempt for each of these projectors (or reactors) whose checkpoint nobody holds, committed at once.

    On PostgreSQL the commit is not waited for: a process that dies does not take it along, only a server does.
    """
    connection = connections[service]
    table = checkpoints.checkpoint_model(service)._meta.db_table
    columns = ", ".join(Attempt._fields)
    free = f"SELECT name FROM {table} WHERE name IN ({', '.join(['%s'] * len(names))})"  # noqa: S608
    if connection.vendor == "postgresql":
        free += " FOR UPDATE SKIP LOCKED"
        columns += ", set_config('synchronous_commit', 'off', true)"
    with connection.cursor() as cursor:
        cursor.execute(
            f"UPDATE {table} SET attempts = attempts + 1 WHERE name IN ({free}) RETURNING {columns}",  # noqa: S608
            list(names),
        )
        return [Attempt(*row[:4]) for row in cursor.fetchall()]


def withdraw(service: str, begun: Sequence[Attempt]) -> None:
    """Give up attempts whose process lives on."""
    with suppress(Error), connections[service].cursor() as cursor:  # where the database fails, they stay counted
        table = checkpoints.checkpoint_model(service)._meta.db_table
        cursor.executemany(
            f"UPDATE {table} SET attempts = attempts - 1 WHERE name = %s AND position = %s AND attempts > 0",  # noqa: S608
            [(one.name, one.position) for one in begun],
        )


def hold(service: str, begun: Sequence[Attempt]) -> list[Checkpoint]:
    """Lock the checkpoints in the open transaction, by position; without those that another has, or has moved."""
    positions = {one.name: one.position for one in begun}
    free = checkpoints.checkpoint_model(service).objects.select_for_update(skip_locked=True)
    held = free.filter(name__in=positions).order_by("position")
    return [checkpoint for checkpoint in held if checkpoint.position == positions[checkpoint.name]]


def end(service: str, held: Sequence[Checkpoint], position: int) -> None:
    """Move held checkpoints, with no attempt open."""
    for checkpoint in held:
        checkpoint.position = position
    moved = checkpoints.checkpoint_model(service).objects.filter(name__in=[checkpoint.name for checkpoint in held])
    moved.update(position=position, attempts=0, updated_at=timezone.now())


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
