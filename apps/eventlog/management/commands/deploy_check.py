"""`manage.py deploy_check`: what a deployment lacks, each in one line with the way out."""

import sys
from collections.abc import Iterator
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.db import DatabaseError, connections

from apps.eventlog.errors.texts import without_values
from apps.eventlog.log import rights
from apps.eventlog.management.deployment import configuration, contents, databases
from apps.eventlog.management.log_command import LogCommand, visible


class Command(LogCommand):
    help = (
        "Says what this deployment lacks, each in one line with the way out: settings, databases that are away, "
        "migrations, roles and grants on PostgreSQL, keys, seals, logins, the schema lock. Run it with the environment "
        "of the server. Says nothing if all is well. Changes nothing. Exit status: 0 all is well; 1 something is not."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        found = list(dict.fromkeys(_faults()))
        for fault in found:
            self.stdout.write(visible(fault))
        if found:
            sys.exit(1)


def _faults() -> Iterator[str]:
    yield from _looking("the settings", configuration.faults())
    ready = set()
    for alias in databases.ALIASES:
        lacks = list(_looking(alias, databases.lacks(alias)))
        yield from lacks
        if not lacks:
            ready.add(alias)
            yield from _looking(alias, databases.dangers(alias))
            if connections[alias].vendor == "postgresql":
                yield from _looking(alias, rights.faults(alias, databases.ALIASES))
    for needed, look in contents.LOOKS:
        if needed <= ready:  # what these databases lack themselves has been said
            yield from _looking(" and ".join(sorted(needed)), look())


def _looking(at: str, faults: Iterator[str]) -> Iterator[str]:
    """The faults; what cannot be looked at is one too."""
    try:
        yield from faults
    except DatabaseError as error:
        yield f"databases: {at} cannot be looked at ({without_values(error)}): mend that, and run this again"
    except ImproperlyConfigured as error:
        yield f"settings: {error}"
