"""`manage.py replay_events`: rebuild read models from the log, or print its events."""

from argparse import ArgumentParser
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import msgspec
from django.core.management.base import CommandError
from django.db.utils import InterfaceError, OperationalError
from django.utils import timezone
from django.utils.dateparse import parse_date, parse_datetime

from apps.eventlog import store
from apps.eventlog.delivery import checkpoints
from apps.eventlog.delivery.dead_letters import open_dead_letters
from apps.eventlog.events import RecordedEvent, stream_named
from apps.eventlog.management.log_command import LogCommand, say_left_out, visible
from apps.eventlog.management.progress import progress_bar
from apps.eventlog.processing import running
from apps.eventlog.projectors import Projector, services
from apps.eventlog.reactors import Reactor
from apps.eventlog.relay.webhooks import endpoints
from apps.eventlog.replay.fold_streams import BATCH, Progress
from apps.eventlog.replay.one_stream import NoSuchRow, history, rebuild_stream, with_a_row_of
from apps.eventlog.replay.past_databases import build_past
from apps.eventlog.replay.rebuild import WouldSetAside, rebuild, repair_reactors
from apps.eventlog.replay.rebuild_lock import AlreadyRunning
from apps.eventlog.replay.shadow_table import TableInUse
from apps.eventlog.replay.target_databases import is_suffix
from apps.eventlog.replay.verify_rows import Difference, verify, verify_stream
from apps.eventlog.sealing import seals

INTO = (
    "build other databases and leave the live ones alone. A plain name in lower case that no file or directory has "
    "(then) is a suffix: the databases are named like the live ones (orders_then) and are on the same server or in the "
    "same directory; missing ones are made, one that is not empty is refused. Anything else (./then, then/) is a new "
    "directory for SQLite databases"
)
STREAM = "only the row of this stream, as in order-<uuid>, in place; with --list, only its events"


class Command(LogCommand):
    help = (
        "Rebuilds the read models from the event log. Readers see the old rows until the new ones are complete. If "
        "this is interrupted, the old rows stay. Reactors do not run. If the log went back, because an older backup of "
        "it was restored, this repairs the rows, and reactors and processes go on from where they and the log still "
        "agree. If this code cannot project events that the rows have taken in, it changes nothing."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        add = parser.add_argument
        add("--service", choices=services(), help="only the projectors of this service")
        add("--projector", metavar="NAME", help="only this projector, as in OrderProjector")
        add("--stream", type=stream_named, metavar="NAME", help=STREAM)
        add("--until", type=instant, metavar="WHEN", help="as of this instant (ISO 8601) or position; needs --into")
        add("--into", metavar="DIR|SUFFIX", help=INTO)
        add("--verify", action="store_true", help="change nothing; compare rows and log, and exit 1 if they differ")
        add("--dry-run", action="store_true", help="change nothing; say what would be done, with how many events")
        add(
            "--accept-dead-letters",
            action="store_true",
            help="rebuild although this code cannot project events that are in the rows; they become dead letters",
        )
        add("--workers", type=int, default=1, metavar="N", help="processes that share the work (default 1)")
        add("--batch", type=int, default=BATCH, metavar="N", help=f"events in a batch (default {BATCH})")
        add("--no-progress", action="store_true", help="no progress bar")
        add(
            "--format",
            choices=["text", "json"],
            default="text",
            help="of --list and --verify; json is one object in each line",
        )
        listing = parser.add_argument_group("print events instead")
        listing.add_argument("--list", action="store_true", help="print events, oldest first, up to --until")
        listing.add_argument("--type", help="only events of this type, as in orders.OrderPlaced")
        listing.add_argument("--since", type=instant, help="only events recorded at or after this instant (ISO 8601)")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["list"]:
            self._list(options)
            return
        _check(options)
        kinds = _chosen(options)
        if not (options["service"] or options["projector"]):
            say_left_out(self, "their rows and processes are left alone")
        if options["stream"] is not None:
            self._one_stream(options["stream"], kinds, options)
        elif options["dry_run"]:
            self._describe(kinds, options)
        elif options["into"] is not None:
            self._build_past(kinds, options)
        elif options["verify"]:
            self._verify(kinds, options)
        else:
            for kind in kinds:
                self._rebuild(kind, options)
            for service in sorted(_services(kinds, options)):
                repair_reactors(service)
            if not (options["service"] or options["projector"]):
                running.repair()
                self._rewind_webhooks()
                self._mention_seals()

    def _one_stream(self, stream: str, kinds: list[type[Projector]], options: dict[str, Any]) -> None:
        try:
            of_rows = with_a_row_of(stream, kinds)
        except NoSuchRow as error:
            raise CommandError(str(error)) from error
        found = 0
        for kind in of_rows:
            with _explained(kind):
                if options["dry_run"]:
                    total = len(history(kind, stream, store.safe_place()))
                    self.stdout.write(f"{kind.name}: would replay {total} events into one row of {_tables(kind)}")
                elif options["verify"]:
                    found += self._report(kind, verify_stream(kind, stream), options)
                else:
                    done = rebuild_stream(kind, stream)
                    self.stdout.write(self.style.SUCCESS(f"{kind.name}: {done} events replayed into {_tables(kind)}"))
        _require_none(found)

    def _describe(self, kinds: list[type[Projector]], options: dict[str, Any]) -> None:
        until = _end(options["until"])
        into = options["into"]
        target = f"databases {'with the suffix' if is_suffix(into) else 'in'} {into}" if into else ""
        for kind in kinds:
            total = store.count(category=kind.categories, until=until)
            position = checkpoints.positions(kind.service)[kind.name]
            self.stdout.write(
                f"{kind.name}: would replay {total} events into {target or _tables(kind)}; live at {position}"
            )

    def _rebuild(self, kind: type[Projector], options: dict[str, Any]) -> None:
        batch, workers = options["batch"], options["workers"]
        with self._progress(kind, options) as advance:
            done = rebuild(
                kind,
                batch=batch,
                workers=workers,
                progress=advance,
                accept_dead_letters=options["accept_dead_letters"],
            )
        set_aside = open_dead_letters(kind.service).filter(projector=kind.name).count()
        note = f", {set_aside} set aside: see dead_letters list" if set_aside else ""
        self.stdout.write(self.style.SUCCESS(f"{kind.name}: {done} events replayed into {_tables(kind)}{note}"))

    def _rewind_webhooks(self) -> None:
        for endpoint, place in endpoints.rewind():
            self.stdout.write(f"webhook {endpoint.pk}: goes on after position {place.position}")

    def _mention_seals(self) -> None:
        if seals.went_back():
            self.stderr.write(
                "The seals are over events that the log does not have: see verify_log and seal_events --help"
            )

    def _verify(self, kinds: list[type[Projector]], options: dict[str, Any]) -> None:
        found = 0
        for kind in kinds:
            with self._progress(kind, options) as advance:
                differences = verify(kind, batch=options["batch"], progress=advance)
            found += self._report(kind, differences, options)
        _require_none(found)

    def _report(self, kind: type[Projector], differences: list[Difference], options: dict[str, Any]) -> int:
        for difference in differences:
            self.stdout.write(_json(difference) if options["format"] == "json" else _line(difference))
        if options["format"] == "text":
            rows = len({(difference.table, difference.key) for difference in differences})
            result = f"{len(differences)} differences in {rows} rows" if differences else "as the log says"
            self.stdout.write(f"{kind.name}: {result}")
        return len(differences)

    def _build_past(self, kinds: list[type[Projector]], options: dict[str, Any]) -> None:
        until = _end(options["until"])
        total = store.count(until=until)
        with progress_bar("log", total, hidden=options["no_progress"]) as advance:
            opened = build_past(options["into"], until, kinds, advance)
        names = ", ".join(kind.name for kind in kinds)
        self.stdout.write(self.style.SUCCESS(f"{options['into']}: {total} events, up to position {until}; {names}"))
        self.stdout.write(f"Open it: {opened}")

    @contextmanager
    def _progress(self, kind: type[Projector], options: dict[str, Any]) -> Iterator[Progress]:
        """A progress bar over the projector's events. Turns what may stop the work into a CommandError."""
        total = store.count(category=kind.categories)
        try:
            with progress_bar(kind.name, total, hidden=options["no_progress"]) as advance:
                yield advance
        except WouldSetAside as refusal:
            way_out = "run the code that can, or give --accept-dead-letters to take them out of the rows"
            raise CommandError(f"{refusal}. To go on, {way_out}.") from refusal
        except (AlreadyRunning, TableInUse, store.LogWentBack) as error:
            raise CommandError(str(error)) from error
        except KeyboardInterrupt:
            raise CommandError(f"{kind.name}: interrupted; the old rows stand, run it again") from None

    def _list(self, options: dict[str, Any]) -> None:
        since, types = options["since"], None if options["type"] is None else [options["type"]]
        if isinstance(since, int):
            raise CommandError("--since takes an instant")
        for recorded in store.read_all(until=options["until"], types=types, stream=options["stream"], since=since):
            self.stdout.write(_json(recorded.document()) if options["format"] == "json" else _text(recorded))


def _check(options: dict[str, Any]) -> None:
    for name in ("until", "into"):
        if options["stream"] is not None and options[name] is not None:
            raise CommandError(f"--stream rebuilds a live row, so it does not go with --{name}")
    for name in ("type", "since"):
        if options[name] is not None:
            raise CommandError(f"--{name} goes with --list")
    for name in ("batch", "workers"):
        if options[name] < 1:
            raise CommandError(f"--{name} must be 1 or more")
    if options["until"] is not None and options["into"] is None:
        raise CommandError("--until needs --into: the live rows are always as of now")


@contextmanager
def _explained(kind: type[Projector]) -> Iterator[None]:
    """Say what keeps the row of one stream as it is."""
    try:
        yield
    except (AlreadyRunning, TableInUse, store.LogWentBack) as error:
        raise CommandError(str(error)) from error
    except (OperationalError, InterfaceError):
        raise
    except Exception as error:  # a projector may raise anything
        why = f"{type(error).__name__}: {error}"
        raise CommandError(f"{kind.name} cannot take the stream, so its row stays as it is: {why}") from error


def _require_none(found: int) -> None:
    if found:
        raise CommandError(f"{found} differences between the rows and the log; replay_events rebuilds the rows")


def _chosen(options: dict[str, Any]) -> list[type[Projector]]:
    """The projectors that the options name; all if they name none."""
    name, service = options["projector"], options["service"]
    if name and name not in Projector.registry:
        raise CommandError(f"no projector {name!r}; there are {', '.join(sorted(Projector.registry))}")
    return [
        kind for kind in Projector.registry.values() if name in (None, kind.name) and service in (None, kind.service)
    ]


def _services(kinds: list[type[Projector]], options: dict[str, Any]) -> set[str]:
    """The services of the projectors that were chosen, and if all were, those that have reactors alone."""
    every = options["projector"] is None and options["service"] is None
    return {kind.service for kind in kinds} | {kind.service for kind in Reactor.registry.values() if every}


def instant(text: str) -> datetime | int:
    """Parse a position, a day or an ISO 8601 instant. Without an offset it is in UTC. Raises ValueError."""
    if text.isdigit():
        return int(text)
    value = parse_datetime(text.upper())  # RFC 3339 has `t` and `z` too
    if value is None and (day := parse_date(text)):
        value = datetime(day.year, day.month, day.day)  # noqa: DTZ001
    if value is None:
        raise ValueError(text)
    try:
        return (value if value.tzinfo else timezone.make_aware(value)).astimezone(UTC)
    except OverflowError:  # an offset leads out of the years 1 to 9999
        raise ValueError(text) from None


def _end(until: datetime | int | None) -> int:
    safe = store.safe_position()
    return safe if until is None else min(safe, store.position_at(until))


def _tables(kind: type[Projector]) -> str:
    return ", ".join(model._meta.db_table for model in kind.models)


def _line(difference: Difference) -> str:
    location = f"{difference.table} {difference.key} {difference.field}".rstrip()
    return visible(f"{location}: live {difference.live!s}, log {difference.log!s}")


def _json(document: Any) -> str:
    return msgspec.json.encode(document, enc_hook=str).decode()


def _text(recorded: RecordedEvent) -> str:
    when = recorded.recorded_at.isoformat(sep=" ", timespec="milliseconds")
    version = f"{recorded.stream} #{recorded.stream_version}"
    return visible(f"{recorded.position:>8}  {when}  {version}  {recorded.type}  {_json(recorded.data)}")
