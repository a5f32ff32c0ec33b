"""`manage.py subject_report ID`: everything that is held about one person, as JSON."""

from argparse import ArgumentParser
from typing import Any
from uuid import UUID

import msgspec

from apps.eventlog.management.log_command import LogCommand
from apps.eventlog.privacy import subject_report


class Command(LogCommand):
    help = "Prints everything that is held about one person, from the log and every read model, with its source."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("subject", type=UUID, metavar="ID", help="the person's id")

    def handle(self, *args: Any, **options: Any) -> None:
        held = [value for _, value in subject_report.held_about(options["subject"])]
        report = {"subject": options["subject"], "held": held}
        self.stdout.write(msgspec.json.format(msgspec.json.encode(report, enc_hook=str)).decode())
