"""`manage.py subject_report ID`: everything that is stored about one person, as JSON."""

from argparse import ArgumentParser
from typing import Any
from uuid import UUID

import msgspec

from apps.eventlog.management.log_command import LogCommand
from apps.eventlog.privacy import subject_report


class Command(LogCommand):
    takes_everything = True
    help = (
        "Prints everything that is stored about one person, in the log, the read models and the login, with its source."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("subject", type=UUID, metavar="ID", help="the person's id")

    def handle(self, *args: Any, **options: Any) -> None:
        entries = [entry for _, entry in subject_report.stored_about(options["subject"])]
        report = {"subject": options["subject"], "held": entries}
        self.stdout.write(msgspec.json.format(msgspec.json.encode(report, enc_hook=str)).decode())
