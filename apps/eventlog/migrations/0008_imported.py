"""Which events were recorded elsewhere: written down in the transaction that imports them, so in the log's database."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("eventlog", "0007_safe_position_of_an_event"),
    ]

    operations = [
        migrations.CreateModel(
            name="Import",
            fields=[
                ("first", models.BigIntegerField(primary_key=True, serialize=False)),
                ("last", models.BigIntegerField(db_index=True)),
                ("imported_at", models.DateTimeField(auto_now_add=True)),
            ],
            options={
                "db_table": "eventlog_imported",
                "ordering": ["first"],
            },
        ),
    ]
