"""`manage.py backup DIR`: copy all databases while the application goes on."""

import time
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError

from apps.eventlog.backup import take
from apps.eventlog.backup.database_copy import CannotCopy
from apps.eventlog.management.log_command import LogCommand, interrupted_by_sigterm
from apps.eventlog.management.progress import progress_bar


class Command(LogCommand):
    takes_everything = True
    help = (
        "Copies all databases to a new folder, as of one instant, while the application goes on. The folder has a "
        "manifest when it is complete; `manage.py restore` puts it back. It also has the data keys of personal fields, "
        "so keep it where only those may read it who may read them. On PostgreSQL this needs pg_dump, in the "
        "server's version or a later one (POSTGRES_BIN). docs/how-to/back-up-and-restore.md"
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("folder", type=Path, metavar="DIR", help="a new or an empty folder")
        parser.add_argument("--no-progress", action="store_true", help="no progress bar")

    def handle(self, *args: Any, **options: Any) -> None:
        folder: Path = options["folder"]
        began = time.monotonic()
        try:
            with interrupted_by_sigterm(), progress_bar("bytes", None, hidden=options["no_progress"]) as advance:
                written = take.backup(folder, take.Steps(advance, self._tell))
        except KeyboardInterrupt:
            raise CommandError(f"interrupted: {folder} holds nothing of this backup") from None
        except (CannotCopy, OSError) as error:
            raise CommandError(f"no backup was taken: {error}") from error
        size = sum(each.bytes for each in written.databases)
        self.stdout.write(
            self.style.SUCCESS(
                f"{folder}: {len(written.databases)} databases, {size:,} bytes, the log up to position "
                f"{written.position}, as of {written.taken_at:%Y-%m-%d %H:%M:%S} UTC ({time.monotonic() - began:.1f} s)"
            )
        )

    def _tell(self, alias: str, size: int) -> None:
        self.stderr.write(f"{alias}: {size:,} bytes")
