"""`manage.py dead_letters`: list, retry and skip events that a projector or reactor could not take."""

import getpass
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import CommandError

from apps.eventlog.delivery.dead_letters import open_dead_letters
from apps.eventlog.events import stream_named
from apps.eventlog.management.log_command import LogCommand, say_left_out, visible
from apps.eventlog.processing import settling

READERS = settling.readers()


class Command(LogCommand):
    help = "Lists dead letters (events that were set aside), retries them, or skips one for ever with a reason."

    def add_arguments(self, parser: ArgumentParser) -> None:
        acts = parser.add_subparsers(dest="act", required=True)
        acts.add_parser("list", help="list the open dead letters")
        retry = acts.add_parser("retry", help="try them again, each stream in order")
        retry.add_argument("--projector", help="only dead letters of this projector, reactor or process")
        retry.add_argument("--stream", type=stream_named, help="only dead letters of this stream")
        skip = acts.add_parser("skip", help="leave one event out for ever, also in replays")
        skip.add_argument("--projector", required=True, help="the projector, reactor or process")
        skip.add_argument("--position", required=True, type=int, help="of the event")
        skip.add_argument("--reason", required=True, help="why; it stays on record")

    def handle(self, *args: Any, **options: Any) -> None:
        name = options.get("projector")
        if name and name not in READERS:
            raise CommandError(f"no projector {name!r}; there are {', '.join(sorted(READERS))}")
        if not name:
            say_left_out(self, "their dead letters are not looked at")
        getattr(self, f"_{options['act']}")(options)

    def _list(self, options: dict[str, Any]) -> None:
        for service in sorted({kind.service for kind in READERS.values()}):
            for each in open_dead_letters(service):
                where = f"{each.projector}  position {each.position}  {each.stream}"
                self.stdout.write(visible(f"{where}  {each.status}  attempts {each.attempts}  {each.error}"))

    def _retry(self, options: dict[str, Any]) -> None:
        failed = False
        for service in sorted({kind.service for kind in READERS.values()}):
            waiting = open_dead_letters(service).values_list("projector", "stream")
            for name, stream in sorted(set(waiting)):
                if options["projector"] in (None, name) and options["stream"] in (None, stream):
                    done, error = settling.retry(READERS[name], stream, by=getpass.getuser())
                    outcome = f"{done} taken in{f', then {error}' if error else ''}"
                    self.stdout.write(visible(f"{name}  {stream}: {outcome}"))
                    failed = failed or bool(error)
        if failed:
            raise CommandError("some events failed again")

    def _skip(self, options: dict[str, Any]) -> None:
        kind, reason = READERS[options["projector"]], options["reason"].strip()
        if not reason:
            raise CommandError("--reason must say why")
        if not settling.skip(kind, options["position"], by=getpass.getuser(), reason=reason):
            raise CommandError(f"nothing of {kind.name} waits at position {options['position']}")
        self.stdout.write("skipped; retry takes in the later events of its stream")
