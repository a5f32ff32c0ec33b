"""`manage.py seal_events`: seal the log, and export the seals as anchors."""

import signal
import sys
import threading
from argparse import ArgumentParser
from pathlib import Path
from typing import IO, Any

import msgspec
from django.core.management.base import CommandError
from django.db import Error, close_old_connections

from apps.eventlog.management.log_command import LogCommand
from apps.eventlog.management.progress import progress_bar
from apps.eventlog.models import Seal
from apps.eventlog.sealing import seals, signatures


class Command(LogCommand):
    help = (
        "Seals the events that are not sealed yet, so that verify_log finds any later change of them, and leaves. "
        "run_projectors seals as it goes; this is for a deployment without it, and for --export. Several sealers may "
        "run at once. Signs where SEAL_SIGNING_KEY is set."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        add = parser.add_argument
        add("--follow", action="store_true", help="go on sealing until SIGTERM or Ctrl-C")
        add("--once", action="store_true", help="seal what is there and leave (what it does without --follow)")
        add(
            "--export",
            type=Path,
            metavar="FILE",
            help="then write every seal to a file to keep elsewhere; - for stdout",
        )
        add("--new-key", action="store_true", help="only print a new signing key and its public key")
        add("--no-progress", action="store_true", help="no progress bar")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["new_key"]:
            signing, public = signatures.new_keys()
            self.stdout.write(f"SEAL_SIGNING_KEY={signing}\nSEAL_PUBLIC_KEYS={public}")
            return
        if options["follow"] and (options["once"] or options["export"]):
            raise CommandError("--follow goes on, --once and --export leave: one or the other")
        try:
            if options["follow"]:
                self._follow()
                return
            self._seal(options)
            if options["export"]:
                self._export(options["export"])
        except (seals.CannotSeal, OSError) as error:
            raise CommandError(str(error)) from error

    def _seal(self, options: dict[str, Any]) -> None:
        done = 0
        with progress_bar("seal", seals.unsealed(), hidden=options["no_progress"]) as advance:
            while sealed := seals.seal_next():
                done += sealed
                advance(sealed)
        last = Seal.objects.defer("leaves").last()
        upto = f"seal {last}" if last else "no event yet"
        self.stderr.write(f"{done} events sealed; {upto}")

    def _follow(self) -> None:
        stop = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
        sealer, pause = seals.Sealer(), 0.0
        while not stop.wait(pause):
            try:
                pause = 0.0 if sealer.tick() else 0.1
            except Error as error:
                self.stderr.write(f"The log is not available, trying again: {error}")
                close_old_connections()
                pause = 1.0

    def _export(self, file: Path) -> None:
        if str(file) == "-":
            _write(sys.stdout.buffer)
            return
        part = file.with_name(f"{file.name}.part")  # so that FILE is whole or not there
        try:
            with part.open("wb") as out:
                count = _write(out)
            part.replace(file)
        finally:
            part.unlink(missing_ok=True)
        self.stderr.write(f"{count} seals written to {file}; keep it where nobody can change it")


def _write(out: IO[bytes]) -> int:
    count = 0
    for seal in Seal.objects.defer("leaves").order_by("number").iterator():
        out.write(msgspec.json.encode(seals.anchor(seal)) + b"\n")
        count += 1
    return count
