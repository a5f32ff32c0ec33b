"""What no routine command may destroy, because it cannot be rebuilt: log, data keys, logins, state of processes."""

from django.conf import settings
from django.core.management.base import CommandError
from django.db import Error

from apps.eventlog import store
from apps.eventlog.encryption import data_keys
from apps.eventlog.processing import tables


def refuse(command: str, alias: str) -> None:
    """Raise CommandError if the command would destroy what cannot be rebuilt.

    A read database can be rebuilt. Any other database can be emptied only as long as there are no events, no data keys
    and no processes with a state anywhere, and only while the databases answer.
    """
    if alias in settings.SERVICES:
        return
    if tables.ALIAS in settings.LEFT_OUT:
        raise CommandError(f"nothing was done: {command} must look at the processes, and SERVE leaves them out")
    try:
        found = [] if store.is_empty() else ["the log has events"]
        found += [] if data_keys.is_empty() else ["there are data keys"]
        found += [] if tables.are_empty() else ["processes have state"]
    except Error as error:
        raise CommandError(f"nothing was done: what {command} would destroy is unknown, because {error}") from error
    if found:
        raise CommandError(
            f"{command} would destroy what cannot be rebuilt from the log ({' and '.join(found)}), so nothing was "
            f"done. To begin again on purpose, stop everything, drop the databases (delete the SQLite files), and run "
            "manage.py migrate. A read database can be emptied at any time: "
            f"--database {' or '.join(settings.SERVICES)}, then manage.py replay_events"
        )
