"""`manage.py export_events FILE`: the log as JSON Lines."""

import gzip
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

import msgspec
from django.core.management.base import CommandError

from apps.eventlog import store
from apps.eventlog.management.log_command import LogCommand
from apps.eventlog.management.progress import progress_bar


class Command(LogCommand):
    help = (
        "Writes the event log to a file as JSON Lines, one event a line, gzipped where the name ends in .gz. Personal "
        "fields stay encrypted; their data keys are not in the file (docs/personal-data.md)."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", type=Path)
        parser.add_argument("--no-progress", action="store_true", help="no progress bar")

    def handle(self, *args: Any, **options: Any) -> None:
        file: Path = options["file"]
        part = file.with_name(f"{file.name}.part")  # so that FILE is whole or not there
        count = 0
        try:
            with (
                gzip.open(part, "wb") if file.suffix == ".gz" else part.open("wb") as out,
                progress_bar("export", store.find().count(), hidden=options["no_progress"]) as advance,
            ):
                for recorded in store.read_all(form=store.stored):
                    out.write(msgspec.json.encode(recorded.document()) + b"\n")
                    advance(1)
                    count += 1
            part.replace(file)
        except KeyboardInterrupt:
            raise CommandError("interrupted; nothing written") from None
        finally:
            part.unlink(missing_ok=True)
        self.stdout.write(self.style.SUCCESS(f"{count} events written to {file}"))
