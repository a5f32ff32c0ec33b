"""The data keys of personal fields move to a database of their own.

They are copied, the copy is committed and compared, and only then the rows here go, in the one transaction of this
migration. So a process that is killed anywhere in between leaves them here, and the next run begins again.
"""

from itertools import islice

from django.db import connections, migrations, transaction
from django.utils import timezone

BATCH = 500
KEYS = "keys"


class KeysNotMoved(Exception):
    """The data keys stay where they were; the message says why."""


def move(apps, schema_editor):
    connection = schema_editor.connection
    if connection.vendor == "postgresql":
        # Processes of the version before may still run. A key that they made now would be left behind.
        schema_editor.execute("LOCK TABLE users_personalkey IN ACCESS EXCLUSIVE MODE")
    old = apps.get_model("users", "PersonalKey").objects.using(connection.alias).order_by("subject")
    if not old.exists():
        return
    if "keys_personalkey" not in connections[KEYS].introspection.table_names():
        raise KeysNotMoved("the database of the data keys has no table yet: run `manage.py migrate` without --database")
    new = apps.get_model("keys", "PersonalKey")
    with transaction.atomic(using=KEYS):
        for batch in batches(old):
            copy(batch, new)
    for batch in batches(old):
        compare(batch, new)
    if connection.vendor == "sqlite":
        # Overwrite what goes, and the pages of the table too.
        schema_editor.execute("PRAGMA secure_delete = ON")
    schema_editor.execute("DELETE FROM users_personalkey")


def batches(rows):
    rows = rows.iterator(chunk_size=BATCH)
    while batch := list(islice(rows, BATCH)):
        yield batch


def copy(batch, new):
    """Write what a run before this one has not. Whatever was destroyed on one side is destroyed on both."""
    keys = new.objects.using(KEYS)
    known = keys.in_bulk([row.subject for row in batch])
    fields = ("subject", "wrapped", "wrapped_by", "destroyed_at")
    missing = [row for row in batch if row.subject not in known]
    keys.bulk_create([new(**{field: getattr(row, field) for field in fields}) for row in missing])
    for row in batch:
        if row.wrapped is None and row.subject in known and known[row.subject].wrapped is not None:
            keys.filter(subject=row.subject).update(
                wrapped=None, wrapped_by="", destroyed_at=row.destroyed_at or timezone.now()
            )


def compare(batch, new):
    """Raise unless each key is there, byte for byte, or destroyed there."""
    known = new.objects.using(KEYS).in_bulk([row.subject for row in batch])
    for row in batch:
        kept = known.get(row.subject)
        if kept is None:
            raise KeysNotMoved(f"the data key of {row.subject} did not arrive")
        if kept.wrapped is not None and (row.wrapped is None or bytes(kept.wrapped) != bytes(row.wrapped)):
            raise KeysNotMoved(f"there are two different data keys of {row.subject}: decide which is right")


class Migration(migrations.Migration):
    dependencies = [
        ("users", "0003_personal_keys"),
        ("keys", "0002_guards"),
    ]

    operations = [
        migrations.RunPython(move, migrations.RunPython.noop),
        migrations.DeleteModel(name="PersonalKey"),
    ]
