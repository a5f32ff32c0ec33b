"""`manage.py seal_events`: seal the log, and export the seals as anchors."""

import threading
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

import msgspec
from django.core.management.base import CommandError
from django.db import Error, close_old_connections

from apps.eventlog.management.log_command import Complaints, LogCommand, stopped_by_signals
from apps.eventlog.management.output_file import STDOUT, output_file
from apps.eventlog.management.progress import progress_bar
from apps.eventlog.models import Seal
from apps.eventlog.sealing import seals, signatures

LONGEST_REASON = 500  # characters


class Command(LogCommand):
    help = (
        "Seals the events that are not sealed yet, so that verify_log finds any later change of them. run_projectors "
        "also seals: this command is for deployments without it, and for --export. Several may run at once. Signs the "
        "seals if SEAL_SIGNING_KEY is set."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        add = parser.add_argument
        add("--follow", action="store_true", help="go on sealing until SIGTERM or Ctrl-C")
        add("--once", action="store_true", help="seal what waits, then stop (this is what it does without --follow)")
        add(
            "--export",
            type=Path,
            metavar="FILE",
            help="then write all seals to a file, to be kept elsewhere; - for standard output",
        )
        add(
            "--new-chain",
            action="store_true",
            help="the log went back and the seals are over events that it no longer has: begin a new chain of seals, "
            "which says so for ever; needs --reason",
        )
        add("--reason", default="", help="why the log went back, with --new-chain")
        add("--new-key", action="store_true", help="only print a new signing key and its public key")
        add("--no-progress", action="store_true", help="no progress bar")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["new_key"]:
            signing, public = signatures.new_keys()
            self.stdout.write(f"SEAL_SIGNING_KEY={signing}\nSEAL_PUBLIC_KEYS={public}")
            return
        if options["follow"] and (options["once"] or options["export"]):
            raise CommandError("--follow never ends, so it does not go with --once or --export")
        if options["new_chain"] != bool(options["reason"].strip()):
            raise CommandError("--new-chain and --reason go together")
        if len(options["reason"]) > LONGEST_REASON:
            raise CommandError(f"a reason has at most {LONGEST_REASON} characters")
        try:
            if options["new_chain"]:
                self._begin_new_chain(options["reason"].strip())
            if options["follow"]:
                with stopped_by_signals() as stop:
                    self._follow(stop)
                return
            self._seal(options)
            if options["export"]:
                self._export(options["export"])
        except (seals.CannotSeal, OSError) as error:
            raise CommandError(str(error)) from error

    def _begin_new_chain(self, reason: str) -> None:
        sealed = seals.begin_new_chain(reason)
        self.stderr.write(f"A new chain of seals has begun, with {sealed} events")

    def _seal(self, options: dict[str, Any]) -> None:
        done = 0
        with progress_bar("seal", seals.unsealed(), hidden=options["no_progress"]) as advance:
            while sealed := seals.seal_next():
                done += sealed
                advance(sealed)
        last = Seal.objects.defer("leaves").last()
        last_seal = f"seal {last}" if last else "no event yet"
        self.stderr.write(f"{done} events sealed; {last_seal}")

    def _follow(self, stop: threading.Event) -> None:
        sealer, complaints, pause = seals.Sealer(), Complaints(), 0.0
        while not stop.wait(pause):
            try:
                pause = 0.0 if sealer.tick() else 0.1
            except Error as error:
                complaints.say("the log", error)
                close_old_connections()
                pause = 1.0

    def _export(self, file: Path) -> None:
        count = 0
        with output_file(file) as out:
            for seal in Seal.objects.defer("leaves").order_by("number").iterator():
                out.write(msgspec.json.encode(seals.anchor(seal)) + b"\n")
                count += 1
        if file != STDOUT:
            self.stderr.write(f"{count} seals written to {file}; keep it where nobody can change it")
