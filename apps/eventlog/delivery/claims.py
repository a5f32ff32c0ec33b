"""Claims on checkpoints: the protocol by which one process delivers events to a projector or reactor.

From top to bottom:

1. `claim` counts an attempt at each checkpoint, and commits the count before any event is delivered.
2. `lock` locks the checkpoints in the transaction that also writes the rows. It leaves out each checkpoint that
   another process has locked or moved.
3. `advance` moves the checkpoints and sets their counts to 0. Both commit together with the rows.
4. If delivery raises, `claim` takes its attempts back: this process is alive, so no event has ended it.

So a count above 1 means that another process is between 1 and 2, or that one died between 1 and 3. The first soon has
the lock. Otherwise the claim is `suspect` and `abandoned`. Events are then delivered one at a time, so that each count
belongs to one event. A claim is `exhausted` if the same event has ended the process `LIMIT` times; that event is set
aside without another attempt.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from django.db import Error, connections, transaction
from django.db.models import UUIDField
from django.utils import timezone

from apps.eventlog.database.lock_timeout import lock_timeout as waiting_for_writers
from apps.eventlog.database.statements import marks, rows, run
from apps.eventlog.delivery import checkpoints
from apps.eventlog.delivery import trail as trails
from apps.eventlog.delivery.checkpoints import Reached
from apps.eventlog.delivery.trail import Mark
from apps.eventlog.errors.texts import Impersonal
from apps.eventlog.events import Place

LIMIT = 3
GRACE = 0.5  # seconds in which a living process that has counted an attempt advances or releases it
LOCKED_WITHIN = 0.1  # seconds in which a living process that has counted an attempt locks the checkpoint
TRIES, PAUSE = 3, 0.001  # more tries to lock a claimed checkpoint, which others may lock for a moment as they count

_uuid = UUIDField()


class ProcessEnded(Impersonal):
    """Each of several attempts to deliver an event ended the process."""

    def __init__(self, times: int = LIMIT) -> None:
        super().__init__(f"{times} times")


@dataclass(slots=True)
class Claim:
    """One attempt to deliver what follows a checkpoint; `attempts` counts it and the earlier ones that died."""

    service: str
    name: str
    reached: Reached
    attempts: int
    one_at_a_time_until: int
    trail: str | None = None  # of a reactor, as its column holds it

    @property
    def position(self) -> int:
        return self.reached.position

    @property
    def one_at_a_time(self) -> bool:
        return self.one_at_a_time_until > self.position

    @property
    def suspect(self) -> bool:
        return self.attempts > 1 or self.one_at_a_time

    def abandoned(self) -> bool:
        """Has nobody locked the checkpoint, nor moved it, in the time in which a living process would?"""
        if not self._free():
            return False
        time.sleep(LOCKED_WITHIN)
        return self._free()

    def _free(self) -> bool:
        with transaction.atomic(using=self.service):
            return bool(_unmoved([self]))

    def deliver_one_at_a_time(self, until: int) -> None:
        """From here up to the position `until`, the end of the batch that died, count attempts event by event."""
        checkpoint = checkpoints.checkpoint_model(self.service).objects.filter(name=self.name, position=self.position)
        checkpoint.update(attempts=1, singly_until=until)
        self.attempts, self.one_at_a_time_until = 1, until

    def exhausted(self, grace: float, limit: int = LIMIT) -> bool:
        """Has the next event ended a process `limit` times?

        Waits `grace` seconds, in which living processes advance or release their claims, so that only the attempts
        of dead ones are counted.
        """
        if self.attempts <= limit:
            return False
        release([self])
        time.sleep(grace)
        checkpoint = checkpoints.checkpoint_model(self.service).objects.filter(name=self.name, position=self.position)
        return checkpoint.filter(attempts__gte=limit).exists()


@contextmanager
def claim(service: str, names: Sequence[str], lock_timeout: float | None = None) -> Iterator[list[Claim]]:
    """Count an attempt for each of these projectors or reactors; without those that another process has locked.

    Takes the attempts back if the block raises. `lock_timeout`, in seconds, is how long to wait for another writer
    of a SQLite database; after that, raises `lock_timeout.Locked`.
    """
    claims = _count(service, names, lock_timeout)
    try:
        if len(claims) < len(names) and checkpoints.enter(service):
            release(claims)
            claims = _count(service, names, lock_timeout)
        yield claims
    except Exception:
        release(claims)
        raise


def _count(service: str, names: Sequence[str], lock_timeout: float | None) -> list[Claim]:
    """On PostgreSQL, do not wait for the disk: this count must survive a crash of the process, not of the server."""
    table, columns = checkpoints.table(service), f"attempts, singly_until, trail, {checkpoints.COLUMNS}"
    if connections[service].vendor == "postgresql":
        columns += ", set_config('synchronous_commit', 'off', true)"
    free = f"SELECT name FROM {table} WHERE name IN {marks(names)}{_skip_locked(service)}"  # noqa: S608
    counted = f"UPDATE {table} SET attempts = attempts + 1 WHERE name IN ({free}) RETURNING {columns}"  # noqa: S608
    with waiting_for_writers(service, lock_timeout):
        return [_claimed(service, *row[:7]) for row in rows(service, counted, names)]


def _claimed(service: str, attempts: int, one_at_a_time_until: int, trail: str | None, *checkpoint: Any) -> Claim:
    return Claim(service, *checkpoints.recorded(*checkpoint), attempts, one_at_a_time_until, trail)


def release(claims: Sequence[Claim]) -> None:
    """Take attempts back, because the process that made them lives. They stay counted if the database fails."""
    for each in claims:
        with suppress(Error):
            run(
                each.service,
                f"UPDATE {checkpoints.table(each.service)} SET attempts = attempts - 1"  # noqa: S608
                " WHERE name = %s AND position = %s AND attempts > 0",
                [each.name, each.position],
            )


def lock(claims: Sequence[Claim]) -> list[Claim]:
    """Lock the checkpoints in the open transaction; returns those that are still where they were, by position."""
    found = _unmoved(claims)
    tries = TRIES if claims and _skip_locked(claims[0].service) else 0
    while len(found) < len(claims) and tries:
        tries -= 1
        time.sleep(PAUSE)
        found = _unmoved(claims)
    return found


def _unmoved(claims: Sequence[Claim]) -> list[Claim]:
    if not claims:
        return []
    service, by_name = claims[0].service, {each.name: each for each in claims}
    found = rows(
        service,
        f"SELECT {checkpoints.COLUMNS} FROM {checkpoints.table(service)} WHERE name IN {marks(by_name)}"  # noqa: S608
        f" ORDER BY position, event_id{_skip_locked(service)}",
        list(by_name),
    )
    return [by_name[name] for name, reached in map(_recorded, found) if by_name[name].reached == reached]


def _recorded(row: tuple[Any, ...]) -> tuple[str, Reached]:
    return checkpoints.recorded(*row)


def advance(claims: Sequence[Claim], place: Place) -> None:
    """Move locked checkpoints to a place, with no attempt open."""
    _move(claims[0].service, [each.name for each in claims], Reached(place.position, place))
    for each in claims:
        each.reached = Reached(place.position, place)


def leave_mark(service: str, name: str, trail: Sequence[Mark]) -> None:
    """Move the checkpoint of a reactor forward to the newest mark of its trail, with no attempt open."""
    to = Reached(trail[0].position, trail[0].seen)
    _move(service, [name], to, ", trail = %s", [trails.written(trail)])


def _move(service: str, names: Sequence[str], to: Reached, more: str = "", values: Sequence[Any] = ()) -> None:
    """Move checkpoints forward, with no attempt open; those that are beyond it stay."""
    connection = connections[service]
    now = connection.ops.adapt_datetimefield_value(timezone.now())
    event_id = _uuid.get_db_prep_value(to.place.event_id, connection)
    run(
        service,
        f"UPDATE {checkpoints.table(service)} SET position = %s, event_id = %s, event_position = %s, attempts = 0,"  # noqa: S608
        f" updated_at = %s, log_went_back = false{more} WHERE position <= %s AND name IN {marks(names)}",
        [to.position, event_id, to.place.position, now, *values, to.position, *names],
    )


def _skip_locked(service: str) -> str:
    """Lock the rows that nobody else has locked. SQLite needs no such words: a transaction that writes is alone."""
    return " FOR UPDATE SKIP LOCKED" if connections[service].vendor == "postgresql" else ""
