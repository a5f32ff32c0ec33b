"""The table of the data keys, which was in the database of the users service."""

from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True

    dependencies = []

    operations = [
        migrations.CreateModel(
            name="PersonalKey",
            fields=[
                ("subject", models.UUIDField(primary_key=True, serialize=False)),
                ("wrapped", models.BinaryField(null=True)),
                ("wrapped_by", models.CharField(default="", help_text="which key-encryption key", max_length=16)),
                ("rewraps", models.PositiveIntegerField(default=0)),
                ("destroyed_at", models.DateTimeField(null=True)),
            ],
            options={
                "ordering": ["subject"],
                "indexes": [models.Index(fields=["wrapped_by", "subject"], name="keys_personal_key_by")],
            },
        ),
    ]
