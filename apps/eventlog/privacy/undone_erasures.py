"""Erasures that a restored backup of the data keys has undone: found, and carried out again."""

import logging
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

from django.db import DatabaseError, connections

from apps.eventlog import store
from apps.eventlog.encryption import data_keys
from apps.eventlog.models import Erasure
from apps.eventlog.reactors import Reactor

logger = logging.getLogger(__name__)

BATCH = 500


class Undone(Exception):
    """Data keys are back that were destroyed: a backup of them was restored that is older than an erasure."""


def undone() -> Iterator[Erasure]:
    """The erasures whose data key exists again."""
    ledger = Erasure.objects.order_by("position").iterator()
    while batch := {erasure.subject: erasure for erasure in islice(ledger, BATCH)}:
        for subject in data_keys.find(batch):
            yield batch[subject]


def reapply() -> int:
    """Carry out again every erasure that a restored backup has undone; returns how many."""
    count = 0
    for erasure in list(undone()):
        recorded = store.event_at(erasure.position)
        for kind in Reactor.registry.values():
            if type(recorded.event) in kind.methods:
                kind().react(recorded)
        count += 1
    return count


def require_done() -> None:
    """Raise `Undone` where a restored backup has undone an erasure, and `keys.WrongKey` where no key opens."""
    data_keys.unlock()
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
    except (Undone, data_keys.WrongKey) as error:
        sys.exit(f"Headrace does not start: {error}")
    except DatabaseError as error:
        logger.warning("the data keys cannot be looked at yet: %s", error)
