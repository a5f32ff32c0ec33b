"""Addresses are searched by the mailbox that they name, in whatever form they are written."""

from django.db import migrations, models

from apps.users.events import email_key

BATCH = 1000  # rows a transaction


def fill(apps, schema_editor):
    """The rows that are there; a row that older code writes meanwhile is filled by the next replay."""
    users = apps.get_model("users", "User").objects.using(schema_editor.connection.alias)
    after = None
    while batch := list((users.filter(pk__gt=after) if after else users).order_by("pk")[:BATCH]):
        for user in batch:
            user.mailbox = "" if user.email == "[erased]" else email_key(user.email)
        users.bulk_update(batch, ["mailbox"])
        after = batch[-1].pk


class Migration(migrations.Migration):
    dependencies = [
        ("users", "0005_may_erase"),
    ]

    operations = [
        migrations.RemoveIndex(model_name="user", name="users_user_email"),
        migrations.AddField(
            model_name="user",
            name="mailbox",
            field=models.CharField(
                db_default="", help_text="the address as it is compared and searched", max_length=800
            ),
        ),
        migrations.RunPython(fill, migrations.RunPython.noop),
        migrations.AddIndex(
            model_name="user",
            index=models.Index(fields=["mailbox", "registered_at", "id"], name="users_user_mailbox"),
        ),
    ]
