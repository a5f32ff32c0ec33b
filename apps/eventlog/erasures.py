"""Erasures: the data key of a person destroyed, and a ledger beside the log that says so.

The ledger is what tells an erasure from a backup of the keys that is older than it.
"""

import logging
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from uuid import UUID

from django.db import DatabaseError, connections

from apps.eventlog import keys, statements, store
from apps.eventlog.models import Erasure
from apps.eventlog.reactors import Reactor

logger = logging.getLogger(__name__)

BATCH = 500


class Undone(Exception):
    """Data keys are back that were destroyed: a backup of them was restored that is older than an erasure."""


def carry_out(subject: UUID, position: int) -> None:
    """Destroy the data key of a person whose erasure stands at this position of the log; safe to repeat.

    Raises IntegrityError if the event there is not of that person's stream and names them in no field.
    """
    keys.destroy(subject)
    if connections[store.ALIAS].vendor == "postgresql":
        statements.run(store.ALIAS, "SELECT eventlog_erase(%s, %s)", [subject, position])
    else:
        Erasure.objects.get_or_create(subject=subject, defaults={"position": position})


def is_carried_out(subject: UUID) -> bool:
    return Erasure.objects.filter(subject=subject).exists() and not keys.find([subject])


def undone() -> Iterator[Erasure]:
    """The erasures whose data key exists again."""
    ledger = Erasure.objects.order_by("position").iterator()
    while batch := {erasure.subject: erasure for erasure in islice(ledger, BATCH)}:
        for subject in keys.find(batch):
            yield batch[subject]


def reapply() -> int:
    """Carry out again every erasure that a restored backup has undone; returns how many."""
    count = 0
    for erasure in list(undone()):
        [recorded] = store.recorded(store.find(position=erasure.position))
        for kind in Reactor.registry.values():
            if type(recorded.event) in kind.methods:
                kind().react(recorded)
        count += 1
    return count


def require_done() -> None:
    """Raise `Undone` where a restored backup has undone an erasure, and `keys.WrongKey` where no key opens."""
    keys.unlock()
    if next(undone(), None):
        raise Undone(
            "a backup of the data keys was restored that is older than an erasure: "
            "run `manage.py reapply_erasures` before anything is served"
        )


def refuse_to_serve() -> None:
    """Exit with a message where `require_done` fails; a database that is not there yet is for `/readyz` to tell.

    It looks from a thread: servers of several processes import the application on their event loop, where Django
    refuses to touch a database.
    """
    try:
        with ThreadPoolExecutor(1) as thread:
            looking = thread.submit(require_done)
            thread.submit(connections.close_all)  # those of the thread
        looking.result()
    except (Undone, keys.WrongKey) as error:
        sys.exit(f"Headrace does not start: {error}")
    except DatabaseError as error:
        logger.warning("the data keys cannot be looked at yet: %s", error)
