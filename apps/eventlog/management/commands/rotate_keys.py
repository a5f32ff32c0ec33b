"""`manage.py rotate_keys`: encrypt the data keys with the current key-encryption key."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import CommandError

from apps.eventlog.encryption import data_keys
from apps.eventlog.management.log_command import LogCommand
from apps.eventlog.management.progress import progress_bar


class Command(LogCommand):
    help = (
        "Encrypts every data key with KEY_ENCRYPTION_KEY. Set KEY_ENCRYPTION_KEY to the new key and "
        "PREVIOUS_KEY_ENCRYPTION_KEYS to the old one, restart, run this, then remove the old one. Events are not "
        "touched. Safe to interrupt and to run again."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--no-progress", action="store_true", help="no progress bar")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            with progress_bar("rewrap", data_keys.to_rewrap().count(), hidden=options["no_progress"]) as advance:
                count = data_keys.rewrap(advance)
        except data_keys.WrongKey as error:
            raise CommandError(str(error)) from error
        except KeyboardInterrupt:
            raise CommandError("interrupted; run it again to do the rest") from None
        self.stdout.write(self.style.SUCCESS(f"{count} data keys wrapped by the current key-encryption key"))
