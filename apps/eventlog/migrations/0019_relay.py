"""What relays have last said of themselves."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("eventlog", "0018_form_of_reservations"),
    ]

    operations = [
        migrations.CreateModel(
            name="Relay",
            fields=[
                ("target", models.CharField(max_length=400, primary_key=True, serialize=False)),
                ("only", models.JSONField()),
                ("position", models.BigIntegerField(default=0)),
                ("event_id", models.UUIDField(null=True)),
                ("beat_at", models.DateTimeField()),
                ("error", models.TextField(default="")),
            ],
            options={"ordering": ["target"]},
        ),
    ]
