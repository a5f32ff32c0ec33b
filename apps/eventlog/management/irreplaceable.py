"""What no routine command may destroy, for it cannot be rebuilt: the log, the data keys and the logins."""

from django.conf import settings
from django.core.management.base import CommandError
from django.db import Error, connections
from django.db.models import Model

from apps.eventlog.encryption.models import PersonalKey
from apps.eventlog.models import StoredEvent

KEPT: dict[str, tuple[type[Model], str]] = {
    settings.EVENTLOG: (StoredEvent, "the log has events"),
    settings.KEYS: (PersonalKey, "there are data keys"),
}


def refuse(command: str, alias: str) -> None:
    """Raise CommandError if the command would destroy what cannot be rebuilt.

    A read database can be rebuilt. Any other database can be emptied only as long as there are no events and no data
    keys anywhere, and only while the databases answer.
    """
    if alias in settings.SERVICES:
        return
    try:
        found = [what for kept, (model, what) in KEPT.items() if _has_rows(kept, model)]
    except Error as error:
        raise CommandError(f"nothing was done, for nobody can tell what {command} would destroy: {error}") from error
    if found:
        raise CommandError(
            f"{command} would destroy what cannot be rebuilt from the log ({' and '.join(found)}), so nothing was "
            f"done. To begin again on purpose, stop everything, drop the databases (delete the SQLite files), and run "
            "manage.py migrate. A read database can be emptied at any time: "
            f"--database {' or '.join(settings.SERVICES)}, then manage.py replay_events"
        )


def _has_rows(alias: str, model: type[Model]) -> bool:
    there = model._meta.db_table in connections[alias].introspection.table_names()
    return there and model._default_manager.using(alias).exists()
