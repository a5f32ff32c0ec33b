"""The permission to rebuild and check read models."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [
        ("eventlog", "0011_readable_events"),
    ]

    operations = [
        migrations.AlterModelOptions(
            name="job",
            options={"ordering": ["-started_at"], "permissions": [("run_job", "Can rebuild and check read models")]},
        ),
    ]
