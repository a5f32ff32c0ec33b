"""Do the readers of a service still read the log that they know?

Each reader finds that out by itself, at every look. It then stops, and its checkpoint says so, until the log has its
event again or `replay_events` gives it a place in this log.
"""

import logging
import time
from contextlib import suppress

from django.db import Error, connections

from apps.eventlog.database.statements import rows
from apps.eventlog.delivery import checkpoints
from apps.eventlog.store import LogWentBack

logger = logging.getLogger(__name__)

REMEMBERED = 1.0  # seconds for which a process answers `recently_stopped` from memory

_stopped: dict[str, tuple[float, bool]] = {}


def went_back(service: str) -> list[str]:
    """The names of the readers of a service whose place is not in the log; each of them is reported."""
    found = []
    for name, reached in checkpoints.of_readers(service).items():
        try:
            checkpoints.require_in_log([checkpoints.known_again(reached)])
        except LogWentBack as error:
            report(service, name, reached.position, error)
            found.append(name)
    return found


def stopped(service: str) -> list[str]:
    """The names of the readers of a service that have found that the log went back. The log itself is not asked."""
    return [
        name
        for (name,) in rows(service, f"SELECT name FROM {checkpoints.table(service)} WHERE log_went_back ORDER BY name")  # noqa: S608
    ]


def recently_stopped(service: str) -> bool:
    """Has a reader of the service stopped, as of the last second? For every query, so it seldom asks a database."""
    asked, answer = _stopped.get(service, (0.0, False))
    if time.monotonic() - asked > REMEMBERED:
        with suppress(Error):  # while the database is away, the last answer stands
            answer = bool(stopped(service))
        _stopped[service] = time.monotonic(), answer
    return answer


def report(service: str, name: str, position: int, error: LogWentBack) -> None:
    """A reader that stands at a position has found that the log went back: mark its checkpoint, and log it once."""
    table = checkpoints.table(service)
    mark = f"UPDATE {table} SET log_went_back = true WHERE name = %s AND position = %s AND NOT log_went_back"  # noqa: S608
    marked = True
    with suppress(Error), connections[service].cursor() as cursor:  # the mark is for others, this one stops anyway
        cursor.execute(mark, [name, position])
        marked = cursor.rowcount > 0
    _stopped.pop(service, None)
    if marked:
        logger.error("%s of %s has stopped: %s. Run `manage.py replay_events`.", name, service, error)
