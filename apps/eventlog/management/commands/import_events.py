"""`manage.py import_events FILE`: read JSON Lines into the log."""

import gzip
import sys
from argparse import ArgumentParser
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import IO, Any, cast

import msgspec
from django.core.management.base import CommandError
from django.db import IntegrityError

from apps.eventlog import projectors, store
from apps.eventlog.delivery import projecting
from apps.eventlog.events import FIELDS
from apps.eventlog.management.log_command import LogCommand
from apps.eventlog.management.progress import progress_bar

BATCH = 500


# One line of an export: a JSON object with exactly the fields of a recorded event.
Line = msgspec.defstruct("Line", list(FIELDS.items()), forbid_unknown_fields=True)


class Command(LogCommand):
    help = (
        "Reads events from a file that export_events wrote (JSON Lines, gzipped if the name ends in .gz) into the log, "
        "as they were recorded. Passes over events that the log already has, so run it again after an interruption. "
        "Reactors do not answer imported events. On PostgreSQL, run it as the owner of the log."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", type=Path, help="- for standard input")
        parser.add_argument("--rows-later", action="store_true", help="do not project; run replay_events later")
        parser.add_argument("--no-progress", action="store_true", help="no progress bar")

    def handle(self, *args: Any, **options: Any) -> None:
        file: Path = options["file"]
        written = read = 0
        try:
            with progress_bar("import", None, hidden=options["no_progress"]) as advance:
                lines = _lines(file)
                while batch := list(islice(lines, BATCH)):
                    written, read = written + store.restore(batch), read + len(batch)
                    advance(len(batch))
        except KeyboardInterrupt:
            raise CommandError(f"interrupted after {written} new events; run it again to import the rest") from None
        except IntegrityError as error:
            raise CommandError(f"{written} new events, then one that does not fit: {error}") from error
        store.refresh_statistics()
        self.stdout.write(self.style.SUCCESS(f"{written} events imported, {read - written} were there already"))
        for service in [] if options["rows_later"] else projectors.services():
            projecting.catch_up(service)


def _lines(file: Path) -> Iterator[dict[str, Any]]:
    try:
        with _open(file) as lines:
            for number, line in enumerate(lines, start=1):
                try:
                    yield msgspec.structs.asdict(msgspec.json.decode(line, type=Line))
                except msgspec.DecodeError as error:
                    raise CommandError(f"{file}, line {number}: {error}") from error
    except OSError as error:
        raise CommandError(str(error)) from error


def _open(file: Path) -> IO[bytes]:
    if str(file) == "-":
        return sys.stdin.buffer
    return cast(IO[bytes], gzip.open(file, "rb")) if file.suffix == ".gz" else file.open("rb")
