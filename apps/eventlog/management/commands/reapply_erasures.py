"""`manage.py reapply_erasures`: after restoring an old backup of the data keys, erase again who was erased since."""

from typing import Any

from django.core.management.base import CommandError

from apps.eventlog.encryption import data_keys
from apps.eventlog.management.log_command import LogCommand
from apps.eventlog.privacy import undone_erasures


class Command(LogCommand):
    takes_everything = True
    help = "Carries out again every erasure that an older, restored backup of the data keys has undone."

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            count = undone_erasures.reapply()
        except data_keys.WrongKey as error:
            raise CommandError(str(error)) from error
        self.stdout.write(self.style.SUCCESS(f"{count} erasures carried out again"))
