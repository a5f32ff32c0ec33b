"""Restoring an old backup of the data keys undoes erasures. Find those, and carry them out again."""

import logging
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

from django.db import DatabaseError, connections

from apps.eventlog import store
from apps.eventlog.encryption import data_keys
from apps.eventlog.errors.texts import Impersonal
from apps.eventlog.models import Erasure
from apps.eventlog.reactors import Reactor

logger = logging.getLogger(__name__)

BATCH = 500


class Undone(Impersonal):
    """Destroyed data keys exist again: somebody has restored a backup of the keys that is older than an erasure."""


def undone() -> Iterator[Erasure]:
    """The erasures whose data key exists again."""
    ledger = Erasure.objects.order_by("position").iterator()
    while batch := {erasure.subject: erasure for erasure in islice(ledger, BATCH)}:
        for subject in data_keys.find(batch):
            yield batch[subject]


def reapply() -> int:
    """Carry out every undone erasure again; returns how many there were."""
    count = 0
    for erasure in list(undone()):
        recorded = store.event_at(erasure.position)
        for kind in Reactor.registry.values():
            if type(recorded.event) in kind.methods:
                kind().react(recorded)
        count += 1
    return count


def require_done() -> None:
    """Raises `Undone` if an erasure is undone, and `data_keys.WrongKey` if no key-encryption key fits the data keys."""
    data_keys.unlock()
    if next(undone(), None):
        raise Undone(
            "the data keys come from a backup that is older than an erasure: "
            "run `manage.py reapply_erasures` before anything is served"
        )


def refuse_to_serve() -> None:
    """Exit with a message if `require_done` raises. If a database cannot be reached yet, `/readyz` will say so.

    This checks in a thread: servers with several processes import the application in their event loop, where Django
    refuses to use a database.
    """
    try:
        with ThreadPoolExecutor(1) as thread:
            checking = thread.submit(require_done)
            thread.submit(connections.close_all)  # those of this thread
        checking.result()
    except (Undone, data_keys.WrongKey) as error:
        sys.exit(f"Headrace does not start: {error}")
    except DatabaseError as error:
        logger.warning("the data keys cannot be checked yet: %s", error)
