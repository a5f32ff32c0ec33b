"""The permission to erase a user."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [
        ("users", "0004_keys_move_out"),
    ]

    operations = [
        migrations.AlterModelOptions(
            name="user",
            options={"ordering": ["-registered_at", "-id"], "permissions": [("erase_user", "Can erase user for ever")]},
        ),
    ]
