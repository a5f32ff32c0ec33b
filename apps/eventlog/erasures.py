"""Erase a person: destroy the data key and record the erasure in a ledger, which is kept with the log.

A backup of the data keys may be older than an erasure and bring its key back. The ledger shows which keys must go
again.
"""

import logging
from uuid import UUID

from django.db import connections

from apps.eventlog import projectors, store
from apps.eventlog.database import statements
from apps.eventlog.delivery import projecting, reacting
from apps.eventlog.encryption import data_keys
from apps.eventlog.models import Erasure
from apps.eventlog.privacy import traces
from apps.eventlog.replay.leftovers import drop_leftovers

logger = logging.getLogger(__name__)


def carry_out(subject: UUID, position: int) -> None:
    """Destroy the data key of a person. `position` is that of the event that erases them. Safe to repeat.

    What jobs and killed rebuilds have left about the person goes too. Raises IntegrityError if the event there is not
    of that person's stream and names them in no field.
    """
    data_keys.destroy(subject)
    traces.clear(subject)
    drop_leftovers()
    if connections[store.ALIAS].vendor == "postgresql":
        statements.run(store.ALIAS, "SELECT eventlog_erase(%s, %s)", [subject, position])
    else:
        Erasure.objects.get_or_create(subject=subject, defaults={"position": position})


def is_carried_out(subject: UUID) -> bool:
    """Is the person in the ledger, and the data key destroyed?"""
    return Erasure.objects.filter(subject=subject).exists() and not data_keys.find([subject])


def complete(subject: UUID, service: str) -> bool:
    """Project and react in this process, also if workers do it usually; True if the erasure is then carried out.

    `service` is the one whose reactor carries it out. If a process was killed before, the rows of other services may
    show the person still, so these are brought up to the log as well; one whose database is away is left to its
    workers, and that is logged.
    """
    projecting.catch_up(service)
    reacting.catch_up(service)
    for other in projectors.services():
        try:
            projecting.catch_up(other)
        except Exception:
            logger.exception("%s is erased, and %s could not follow", subject, other)
    return is_carried_out(subject)
