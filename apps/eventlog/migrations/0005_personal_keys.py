"""The ledger of erasures. Reservations store a keyed hash instead of their value."""

from django.db import migrations, models

from apps.eventlog import reservations
from apps.eventlog.encryption import data_keys


def hash_values(apps, schema_editor):
    rows = apps.get_model("eventlog", "Reservation").objects.using(schema_editor.connection.alias)
    if rows.exists():
        data_keys.installation_key(in_use=lambda: False)  # no value is hashed yet, so a new key loses nothing
    for row in rows.iterator():
        rows.filter(pk=row.pk).update(key=reservations.keyed_hash(row.scope, row.key))


class Migration(migrations.Migration):
    dependencies = [
        ("eventlog", "0004_seals"),
        ("users", "0003_personal_keys"),
    ]
    operations = [
        migrations.CreateModel(
            name="Erasure",
            fields=[
                ("subject", models.UUIDField(primary_key=True, serialize=False)),
                ("position", models.BigIntegerField()),
                ("carried_out_at", models.DateTimeField(auto_now_add=True)),
            ],
        ),
        migrations.RunPython(hash_values, migrations.RunPython.noop),
        migrations.AlterField(
            model_name="reservation",
            name="key",
            field=models.CharField(help_text="a keyed hash of the value", max_length=64),
        ),
    ]
