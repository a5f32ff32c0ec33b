"""`manage.py verify_keys`: is there a data key for everything that the log has encrypted?"""

from argparse import ArgumentParser
from collections.abc import Iterator
from typing import Any

from django.core.management.base import CommandError
from django.db import Error

from apps.eventlog import store
from apps.eventlog.encryption import data_keys
from apps.eventlog.management.log_command import LogCommand
from apps.eventlog.management.progress import progress_bar
from apps.eventlog.privacy.verify_keys import Count, Report, verify_keys
from apps.eventlog.relay.webhooks.models import Endpoint


class Command(LogCommand):
    help = (
        "Counts data keys that are missing though nobody was erased: the log has something encrypted that no key "
        "opens. Also counts keys that were destroyed although the log does not tell of an erasure, and keys that open "
        "nothing. Changes nothing, and may run while the application does. Exit status: 0 keys and log belong "
        "together; 1 a key is missing, or an erasure; 2 it cannot be checked."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--no-progress", action="store_true", help="no progress bar")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            with progress_bar("events", store.head(), hidden=options["no_progress"]) as advance:
                report = verify_keys(advance)
                if Endpoint.objects.exists() and not data_keys.is_known(data_keys.WEBHOOKS):
                    report.missing.add([data_keys.WEBHOOKS])
        except Error as error:
            raise CommandError(f"cannot be checked: {error}", returncode=2) from error
        except KeyboardInterrupt:
            raise CommandError("interrupted", returncode=2) from None
        if report.unneeded.number:
            self.stdout.write(f"{_told(report.unneeded)} open nothing in the log; this does no harm")
        if wrong := list(_wrong(report)):
            raise CommandError("; ".join(wrong), returncode=1)
        self.stdout.write(self.style.SUCCESS("no data key is missing"))


def _wrong(report: Report) -> Iterator[str]:
    if report.missing.number:
        yield (
            f"{_told(report.missing)} are missing, and nobody was erased: restore them from a backup. Until then what "
            "they open reads [erased], and commands about these people are answered 503"
        )
    if report.untold.number:
        yield (
            f"{_told(report.untold)} were destroyed, and the log does not tell of an erasure: it is older than the "
            "keys. Erase these people again, with manage.py erase_user"
        )


def _told(count: Count) -> str:
    more = ", ..." if count.number > len(count.first) else ""
    return f"{count.number} data keys ({', '.join(map(str, count.first))}{more})"
