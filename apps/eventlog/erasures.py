"""Erase a person: destroy the data key, and enter it in the ledger beside the log.

The ledger tells an erasure from a backup of the keys that is older than it.
"""

from uuid import UUID

from django.db import connections

from apps.eventlog import store
from apps.eventlog.database import statements
from apps.eventlog.delivery import projecting, reacting
from apps.eventlog.encryption import data_keys
from apps.eventlog.models import Erasure


def carry_out(subject: UUID, position: int) -> None:
    """Destroy the data key of a person whose erasure stands at this position of the log; safe to repeat.

    Raises IntegrityError if the event there is not of that person's stream and names them in no field.
    """
    data_keys.destroy(subject)
    if connections[store.ALIAS].vendor == "postgresql":
        statements.run(store.ALIAS, "SELECT eventlog_erase(%s, %s)", [subject, position])
    else:
        Erasure.objects.get_or_create(subject=subject, defaults={"position": position})


def is_carried_out(subject: UUID) -> bool:
    return Erasure.objects.filter(subject=subject).exists() and not data_keys.find([subject])


def complete(subject: UUID, service: str) -> bool:
    """Project and react in this process, also if a worker would, until the erasure is carried out; False if it is not.

    `service` is the one whose reactor carries it out.
    """
    projecting.catch_up(service)
    reacting.catch_up(service)
    return is_carried_out(subject)
