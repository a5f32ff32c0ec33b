"""Errors that were recorded before this version may quote rows, of people who were erased since among them.

So of each only its kind stays. A retry records the message anew, without values.
"""

import json

from django.conf import settings
from django.core.management.base import CommandError
from django.db import connections, migrations, transaction


def clear(apps, schema_editor):
    Job = apps.get_model("eventlog", "Job")
    for job in Job.objects.filter(outcome__startswith="Failed: ").iterator():
        Job.objects.filter(pk=job.pk).update(outcome=f"Failed: {_kind(job.outcome.removeprefix('Failed: '))}")
    if schema_editor.connection.alias == settings.EVENTLOG:
        there = [service for service in settings.SERVICES if service not in settings.LEFT_OUT]
        if len(there) < len(settings.SERVICES) and apps.get_model("eventlog", "StoredEvent").objects.exists():
            raise CommandError("this migration clears the dead letters of every service: run migrate with SERVE=")
        for service in there:
            _clear_dead_letters(connections[service], f"{service}_deadletter")


def _clear_dead_letters(connection, table):
    if table not in connection.introspection.table_names():
        return  # the database of a service that this version brings along, or one that is not used here
    with transaction.atomic(using=connection.alias), connection.cursor() as cursor:
        cursor.execute(f"SELECT id, error, acts FROM {table} WHERE error <> ''")  # noqa: S608
        for id, error, acts in cursor.fetchall():
            told = [_act(act) for act in (json.loads(acts) if isinstance(acts, str) else acts)]
            update = f"UPDATE {table} SET error = %s, acts = %s WHERE id = %s"  # noqa: S608
            cursor.execute(update, [_kind(error), json.dumps(told), id])


def _act(act):
    return act | {"outcome": _kind(act["outcome"])} if "outcome" in act else act


def _kind(error):
    return error.partition(":")[0]


class Migration(migrations.Migration):
    dependencies = [("eventlog", "0020_hold_a_stream")]
    operations = [migrations.RunPython(clear, migrations.RunPython.noop)]
