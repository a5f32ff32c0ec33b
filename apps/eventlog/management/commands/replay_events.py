"""`manage.py replay_events`: rebuild read models from the log, or print its events."""

from argparse import ArgumentParser
from datetime import datetime
from typing import Any

import msgspec
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone
from django.utils.dateparse import parse_date, parse_datetime

from apps.eventlog import checkpoints, store
from apps.eventlog.events import RecordedEvent
from apps.eventlog.management.progress import progress_bar
from apps.eventlog.projectors import Projector
from apps.eventlog.rebuild import BATCH, AlreadyRunning, rebuild


class Command(BaseCommand):
    help = (
        "Rebuilds the read models from the event log. Readers see the old rows until the new ones are whole; "
        "interrupted at any moment, the old rows stand. Reactors do not run."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        add = parser.add_argument
        add("--service", choices=settings.SERVICES, help="only the projectors of this service")
        add("--projector", metavar="NAME", help="only this projector, as in OrderProjector")
        add("--dry-run", action="store_true", help="say what would be done, over how many events")
        add("--batch", type=int, default=BATCH, metavar="N", help=f"events a batch (default {BATCH})")
        add("--no-progress", action="store_true", help="no progress bar")
        listing = parser.add_argument_group("print events instead")
        listing.add_argument("--list", action="store_true", help="print events, oldest first")
        listing.add_argument("--type", help="only of this type, as in orders.OrderPlaced")
        listing.add_argument("--stream", help="only of this stream, as in order-<uuid>")
        listing.add_argument("--since", type=instant, help="only recorded at or after this instant (ISO 8601)")
        listing.add_argument("--until", type=instant, help="only up to this instant (ISO 8601) or position")
        listing.add_argument("--format", choices=["text", "json"], default="text", help="json: one object a line")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["list"]:
            self._list(options)
            return
        for name in ("type", "stream", "since", "until"):
            if options[name] is not None:
                raise CommandError(f"--{name} goes with --list")
        if options["batch"] < 1:
            raise CommandError("--batch must be 1 or more")
        for kind in self._chosen(options):
            self._rebuild(kind, options)

    def _chosen(self, options: dict[str, Any]) -> list[type[Projector]]:
        name, service = options["projector"], options["service"]
        if name and name not in Projector.registry:
            raise CommandError(f"no projector {name!r}; there are {', '.join(sorted(Projector.registry))}")
        return [
            kind
            for kind in Projector.registry.values()
            if name in (None, kind.name) and service in (None, kind.service)
        ]

    def _rebuild(self, kind: type[Projector], options: dict[str, Any]) -> None:
        total = store.find(category__in=kind.categories).count()
        tables = ", ".join(model._meta.db_table for model in kind.models)
        if options["dry_run"]:
            place = checkpoints.places(kind.service)[kind.name]
            self.stdout.write(f"{kind.name}: would replay {total} events into {tables}; live at position {place}")
            return
        try:
            with progress_bar(kind.name, total, hidden=options["no_progress"]) as advance:
                done = rebuild(kind, batch=options["batch"], progress=advance)
        except AlreadyRunning as error:
            raise CommandError(str(error)) from error
        except KeyboardInterrupt:
            raise CommandError(f"{kind.name}: interrupted; the old rows stand, run it again") from None
        parked = checkpoints.dead_letter_model(kind.service).objects.filter(projector=kind.name).count()
        note = f", {parked} set aside (see the dead letters in the admin)" if parked else ""
        self.stdout.write(self.style.SUCCESS(f"{kind.name}: {done} events replayed into {tables}{note}"))

    def _list(self, options: dict[str, Any]) -> None:
        where = {"type": options["type"], "stream": options["stream"]}
        since, until = options["since"], options["until"]
        if isinstance(since, int):
            raise CommandError("--since takes an instant")
        rows = store.find(**{name: value for name, value in where.items() if value is not None})
        end = store.safe_position() if until is None else min(store.safe_position(), store.position_at(until))
        rows = rows.filter(position__lte=end)
        if since is not None:
            rows = rows.filter(recorded_at__gte=since)
        while page := store.recorded(rows[: store.PAGE]):
            for recorded in page:
                self.stdout.write(_json(recorded.document()) if options["format"] == "json" else _text(recorded))
            rows = rows.filter(position__gt=page[-1].position)


def instant(text: str) -> datetime | int:
    """A position, a day or an ISO 8601 instant; without an offset it is UTC."""
    if text.isdigit():
        return int(text)
    value = parse_datetime(text)
    if value is None and (day := parse_date(text)):
        value = datetime(day.year, day.month, day.day)  # noqa: DTZ001
    if value is None:
        raise ValueError(text)
    return value if value.tzinfo else timezone.make_aware(value)


def _json(document: dict[str, Any]) -> str:
    return msgspec.json.encode(document).decode()


def _text(recorded: RecordedEvent) -> str:
    when = recorded.recorded_at.isoformat(sep=" ", timespec="milliseconds")
    where = f"{recorded.stream} #{recorded.stream_version}"
    return f"{recorded.position:>8}  {when}  {where}  {recorded.type}  {_json(recorded.data)}"
