"""`manage.py export_events FILE`: the log as JSON Lines."""

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError

from apps.eventlog import store
from apps.eventlog.log.importing import exported
from apps.eventlog.management.log_command import LogCommand
from apps.eventlog.management.output_file import STDOUT, output_file
from apps.eventlog.management.progress import progress_bar


class Command(LogCommand):
    help = (
        "Writes the event log to a file as JSON Lines, one event in each line, gzipped if the name ends in .gz. "
        "Personal fields stay encrypted; their data keys are not in the file (docs/how-to/forget-a-person.md)."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", type=Path, help="- for standard output")
        parser.add_argument("--no-progress", action="store_true", help="no progress bar")

    def handle(self, *args: Any, **options: Any) -> None:
        file: Path = options["file"]
        count = 0
        try:
            with (
                output_file(file, gzipped=file.suffix == ".gz") as out,
                progress_bar("export", store.count(), hidden=options["no_progress"]) as advance,
            ):
                for recorded in store.read_all(encrypted=True):
                    out.write(exported(recorded) + b"\n")
                    advance(1)
                    count += 1
        except KeyboardInterrupt:
            raise CommandError("interrupted; nothing written" if file != STDOUT else "interrupted") from None
        if file == STDOUT:
            self.stderr.write(f"{count} events written", self.style.SUCCESS)
        else:
            self.stdout.write(self.style.SUCCESS(f"{count} events written to {file}"))
