"""`manage.py import_events FILE`: read JSON Lines into the log."""

import gzip
import sys
import zlib
from argparse import ArgumentParser
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, cast

import msgspec
from django.conf import settings
from django.core.management.base import CommandError
from django.db import DatabaseError

from apps.eventlog import projectors, reservations, store
from apps.eventlog.aggregates import Erased
from apps.eventlog.delivery import identity, projecting, reacting
from apps.eventlog.encryption.data_keys import MissingKey, WrongKey
from apps.eventlog.events import InvalidEvent
from apps.eventlog.log import importing
from apps.eventlog.log.importing import ExportedEvent
from apps.eventlog.management.log_command import LogCommand
from apps.eventlog.management.progress import progress_bar

BATCH = 500  # events of one transaction
LONGEST = 16 * 1024 * 1024  # bytes of a line: those of the largest event, with every character escaped

Line = tuple[int, ExportedEvent]
REFUSALS = (InvalidEvent, store.EventIdTaken, reservations.Clash, Erased, MissingKey, WrongKey)


class BadLine(Exception):
    """A line of the file cannot be imported; the message says which, and why."""


class Command(LogCommand):
    help = (
        "Reads events from a file that export_events wrote (JSON Lines, gzipped if the name ends in .gz) into the log, "
        "as they were recorded. Passes over events that the log already has, so run it again after an interruption. "
        "It stops at the first line that cannot be imported and says which; the lines before it are in the log. "
        "Reactors do not answer imported events, except that an erasure is carried out here as well. On PostgreSQL, "
        "run it as the owner of the log."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", type=Path, help="- for standard input")
        parser.add_argument("--rows-later", action="store_true", help="do not project; run replay_events later")
        parser.add_argument("--no-progress", action="store_true", help="no progress bar")

    def handle(self, *args: Any, **options: Any) -> None:
        if reservations.outdated():
            raise CommandError(str(reservations.Outdated()))
        self.file: Path = options["file"]
        self.written = self.read = 0
        self.unreadable: set[str] = set()
        error = ""
        try:
            with progress_bar("import", None, hidden=options["no_progress"]) as advance:
                self._import(advance)
        except BadLine as bad:
            error = str(bad)
        except KeyboardInterrupt:
            error = "interrupted: run it again to import the rest"
        except DatabaseError as failed:
            error = f"{str(failed).splitlines()[0]}: run it again to import the rest"
        if self.written:
            self._follow(rows_later=options["rows_later"])
        if error:
            raise CommandError(f"{error} ({self.written} events were imported; the log ends at {store.head()})")
        known = self.read - self.written
        self.stdout.write(self.style.SUCCESS(f"{self.written} events imported, {known} were there already"))
        if stopped := [name for service in projectors.services() for name in identity.stopped(service)]:
            raise CommandError(f"the log went back: {', '.join(stopped)} stopped; run replay_events")

    def _import(self, advance: Callable[[int], None]) -> None:
        batch: list[Line] = []
        lines = _lines(self.file)
        while True:
            try:
                line = next(lines, None)
            except BadLine:
                self._write(batch)
                raise
            batch += [line] if line else []
            if len(batch) == BATCH or not line:
                self._write(batch)
                advance(len(batch))
                batch = []
            if not line:
                return

    def _write(self, batch: list[Line]) -> None:
        """Import these events; if one is refused, import those before it and raise `BadLine`."""
        events = [event for _, event in batch]
        try:
            written = store.import_events(events, self._reserve)
        except REFUSALS as refusal:
            if len(batch) == 1:
                raise BadLine(f"{self.file}, line {batch[0][0]}: {refusal}") from refusal
            half = len(batch) // 2
            self._write(batch[:half])
            self._write(batch[half:])
        else:
            self.written, self.read = self.written + written, self.read + len(events)

    def _reserve(self, streams: set[str]) -> None:
        self.unreadable |= set(reservations.follow(streams))

    def _follow(self, *, rows_later: bool) -> None:
        store.refresh_statistics()
        for service in [] if rows_later else projectors.services():
            projecting.catch_up(service)
            if settings.PROJECTIONS == "inline":  # otherwise the workers carry out what was erased
                reacting.catch_up(service)
        if self.unreadable:
            self.stderr.write(
                f"{len(self.unreadable)} streams cannot be read without their data keys, so what they hold is not "
                "reserved: load the keys, then run rebuild_reservations and replay_events"
            )


def _lines(file: Path) -> Iterator[Line]:
    """The lines of the file, with their numbers. Raises `BadLine`."""
    number = 0
    try:
        with _open(file) as lines:
            while text := lines.readline(LONGEST + 1):
                number += 1
                yield number, _event(text)
    except (InvalidEvent, msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise BadLine(f"{file}, line {number}: {error}") from error
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise BadLine(f"{file}, after line {number}: the gzip file is cut off or damaged ({error})") from error
    except OSError as error:
        raise BadLine(str(error)) from error


def _event(text: bytes) -> ExportedEvent:
    if len(text) > LONGEST:
        raise InvalidEvent("the event", "text", f"has at most {LONGEST:,} bytes")
    if not text.strip():
        raise InvalidEvent("the event", "text", "is an object of JSON, and this line is empty")
    event = msgspec.json.decode(text, type=ExportedEvent)
    importing.check(event)
    return event


def _open(file: Path) -> IO[bytes]:
    if str(file) == "-":
        return sys.stdin.buffer
    return cast(IO[bytes], gzip.open(file, "rb")) if file.suffix == ".gz" else file.open("rb")
