"""`manage.py verify_log`: is the log as it was written?"""

from argparse import ArgumentParser
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import CommandError
from django.db import Error
from django.db.models import Sum

from apps.eventlog.management.log_command import LogCommand
from apps.eventlog.management.progress import progress_bar
from apps.eventlog.models import Seal
from apps.eventlog.sealing import leaves, seal_chain, seals, signatures, verify_log
from apps.eventlog.sealing.leaves import Finding


class Command(LogCommand):
    help = (
        "Recomputes every seal from the events, checks signatures if a key is set, and checks that each stream has "
        "versions 1, 2, 3 ... in the order of positions and of time. Changes nothing, and may run while the "
        "application does. Exit status: 0 nothing was changed (prints how many events are not sealed yet); 1 something "
        "was changed (prints the first bad position); 2 the log cannot be checked."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--against",
            type=Path,
            metavar="FILE",
            help="also check the log against seals that seal_events --export wrote: this finds an end of the log that "
            "was cut off with its seals, and a log that was changed and sealed anew",
        )
        parser.add_argument("--no-progress", action="store_true", help="no progress bar")

    def handle(self, *args: Any, **options: Any) -> None:
        self.first: int | None = None
        try:
            self._verify(options["against"], hidden=options["no_progress"])
        except (seal_chain.Unusable, Error, OSError, ImproperlyConfigured) as error:
            if self.first is None:
                raise CommandError(f"cannot be checked: {error}", returncode=2) from error
            self.stderr.write(f"cannot be checked further: {error}")
        except KeyboardInterrupt:
            raise CommandError("interrupted", returncode=2) from None
        if self.first is not None:
            raise CommandError(f"The log was changed. The first bad position is {self.first}.", returncode=1)

    def _verify(self, file: Path | None, *, hidden: bool) -> None:
        last = Seal.objects.values_list("number", flat=True).last() or 0
        chain = Seal.objects.filter(number__range=(seals.first_of_chain(last), last))
        sealed = chain.aggregate(sum=Sum("events"))["sum"] or 0
        with progress_bar("sealed events", sealed, hidden=hidden) as advance:
            self._report(verify_log.changed_events(last, advance))
            self._report(verify_log.seals_beyond_the_log(last))
            for ended in verify_log.ended_chains(last):
                self.stdout.write(f"note: {ended}")
        with progress_bar("streams", None, hidden=hidden):
            self._report(leaves.broken_streams())
        if file is not None:
            with progress_bar("anchors", None, hidden=hidden):
                self._report(verify_log.differing_anchors(verify_log.read_anchors(file)))
        if self.first is None:
            signed = "signed" if signatures.public_keys() else "signatures not checked, because no key is set"
            self.stdout.write(self.style.SUCCESS(f"{sealed} events are as they were sealed ({last} seals, {signed})"))
            self.stdout.write(f"{seals.unsealed()} events are not sealed yet")

    def _report(self, findings: Iterable[Finding]) -> None:
        for finding in findings:
            self.stdout.write(f"position {finding.position}: {finding.what}")
            self.first = min(finding.position, self.first or finding.position)
