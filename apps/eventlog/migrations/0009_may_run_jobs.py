"""The permission to rebuild and check read models."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [
        ("eventlog", "0008_imported"),
    ]

    operations = [
        migrations.AlterModelOptions(
            name="job",
            options={"ordering": ["-started_at"], "permissions": [("run_job", "Can rebuild and check read models")]},
        ),
    ]
