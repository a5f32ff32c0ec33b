"""`manage.py export_events FILE`: the log as JSON Lines."""

import gzip
import sys
from argparse import ArgumentParser
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, cast

import msgspec
from django.core.management.base import CommandError

from apps.eventlog import store
from apps.eventlog.management.log_command import LogCommand
from apps.eventlog.management.progress import progress_bar

STDOUT = Path("-")


class Command(LogCommand):
    help = (
        "Writes the event log to a file as JSON Lines, one event a line, gzipped where the name ends in .gz. Personal "
        "fields stay encrypted; their data keys are not in the file (docs/how-to/forget-a-person.md)."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", type=Path, help="- for standard output")
        parser.add_argument("--no-progress", action="store_true", help="no progress bar")

    def handle(self, *args: Any, **options: Any) -> None:
        file: Path = options["file"]
        count = 0
        try:
            with (
                _output(file) as out,
                progress_bar("export", store.count(), hidden=options["no_progress"]) as advance,
            ):
                for recorded in store.read_all(encrypted=True):
                    out.write(msgspec.json.encode(recorded.document()) + b"\n")
                    advance(1)
                    count += 1
        except KeyboardInterrupt:
            raise CommandError("interrupted; nothing written" if file != STDOUT else "interrupted") from None
        if file == STDOUT:
            self.stderr.write(f"{count} events written", self.style.SUCCESS)
        else:
            self.stdout.write(self.style.SUCCESS(f"{count} events written to {file}"))


@contextmanager
def _output(file: Path) -> Iterator[IO[bytes]]:
    """Standard output, or a file that is whole or not there."""
    if file == STDOUT:
        yield sys.stdout.buffer
        sys.stdout.flush()
        return
    part = file.with_name(f"{file.name}.part")
    try:
        with gzip.open(part, "wb") if file.suffix == ".gz" else part.open("wb") as out:
            yield cast(IO[bytes], out)
        part.replace(file)
    finally:
        part.unlink(missing_ok=True)
