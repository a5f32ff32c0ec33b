"""`manage.py rebuild_reservations`: make the reservations again from the log."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import CommandError

from apps.eventlog import reservations, store
from apps.eventlog.management.log_command import LogCommand
from apps.eventlog.management.progress import progress_bar


class Command(LogCommand):
    help = (
        "Makes the reservations (of e-mail addresses, for example) again from what the aggregates hold in the log. Run "
        "it after the data keys of a moved log were loaded, or after the log was restored. migrate runs it if an older "
        "version has reserved values in another form. Commands may go on."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--no-progress", action="store_true", help="no progress bar")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            with progress_bar("reservations", store.count(), hidden=options["no_progress"]) as advance:
                unreadable = reservations.rebuild(advance)
        except reservations.Clash as clash:
            raise CommandError(f"{clash}: deactivate or change one of them") from clash
        except KeyboardInterrupt:
            raise CommandError("interrupted; run it again to go on") from None
        if unreadable:
            raise CommandError(
                f"what {len(unreadable)} streams hold cannot be read ({', '.join(unreadable[:3])}): see verify_keys"
            )
        self.stdout.write(self.style.SUCCESS("the reservations are as the log says"))
