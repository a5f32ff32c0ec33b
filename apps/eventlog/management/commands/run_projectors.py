"""`manage.py run_projectors`: project events as they come and run the processes, for PROJECTIONS=worker."""

import logging
import threading
import time
from argparse import ArgumentParser
from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError
from django.db import Error, close_old_connections
from django.utils import timezone

from apps.eventlog import projectors, store
from apps.eventlog.api import expiry
from apps.eventlog.backup import unfinished
from apps.eventlog.delivery import identity, projecting, reacting
from apps.eventlog.management.log_command import LogCommand, say_left_out, stopped_by_signals
from apps.eventlog.management.metrics_server import serve_metrics
from apps.eventlog.processing import running
from apps.eventlog.read import progress, readers
from apps.eventlog.read.readers import Reader
from apps.eventlog.relay.webhooks import courier, endpoints
from apps.eventlog.relay.webhooks.background import Background
from apps.eventlog.sealing import seals
from apps.eventlog.server.complaints import Complaints

logger = logging.getLogger(__name__)

PAUSE = (0.001, 0.02)  # seconds between two looks at the end of the log: after an event, after a long idle time
CLEAR = 3600.0  # seconds between two deletions of what has expired
TAKEN = 0.05  # seconds until a worker looks again that found all projectors taken by others
LOOK_ANYWAY = 1.0  # seconds; another worker may have left events undone, and no new position shows that
TIMERS = 0.5  # seconds; the same if there may be timers, which fire without an event


class Command(LogCommand):
    help = (
        "Projects events into the read models, runs the reactors and the processes, seals the log and sends webhooks, "
        "as events come. Any number of these processes may run, on any number of machines. Stop it with SIGTERM or "
        "Ctrl-C. Exit status 1: the log went back, and readers have stopped, or with --once the seals."
    )

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.complaints = Complaints()
        self.seals_stopped = ""  # why, if they are over events that the log does not have

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--once", action="store_true", help="do what waits, including what reactions cause, then stop"
        )
        parser.add_argument(
            "--service",
            action="append",
            choices=settings.SERVED,
            help="only this; may be repeated",
        )
        parser.add_argument(
            "--report",
            type=float,
            default=60.0,
            metavar="SECONDS",
            help="how often to print how far each reader is (default 60)",
        )
        parser.add_argument(
            "--metrics-port", type=int, metavar="PORT", help="serve this worker's own metrics for Prometheus there"
        )
        parser.add_argument(
            "--metrics-host", default="127.0.0.1", metavar="ADDRESS", help="at which address (default 127.0.0.1)"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        unfinished.refuse_to_serve()
        services = options["service"] or [*projectors.services(), *({settings.PROCESSES} - set(settings.LEFT_OUT))]
        if not options["service"]:
            say_left_out(self, "other workers must follow the log for them")
        sealer = seals.Sealer()
        if options["once"]:
            passes = 1 + len(services)  # a reaction may append events, and these may cause the next reaction
            for service in services * passes:
                while not _catch_up(service, turn=False) and service == settings.PROCESSES:
                    pass
            while self._seal(sealer):
                pass
            courier.drain()
            self._require_same_log(services, and_seals=True)
            return
        if options["metrics_port"]:
            serve_metrics(options["metrics_host"], options["metrics_port"])
        with stopped_by_signals() as stop:
            self.stdout.write(f"Projecting {', '.join(services)}")
            webhooks = Background().start()
            try:
                self._follow(services, sealer, stop, options["report"])
            finally:
                webhooks.stop()

    def _follow(self, services: list[str], sealer: seals.Sealer, stop: threading.Event, report: float) -> None:
        seen, looked, pause = -1, 0.0, PAUSE[0]
        self.reported = cleared = time.monotonic()

        def ended() -> bool:
            """Asked between two batches: a long backlog must not keep the report back."""
            self._report(services, report)
            return stop.is_set()

        while not stop.wait(pause):
            now = time.monotonic()
            try:
                safe = store.safe_position()
                patience = TIMERS if settings.PROCESSES in services else LOOK_ANYWAY
                if safe == seen and now - looked < patience:
                    pause = min(PAUSE[1], 1.5 * pause)
                else:
                    waits = max(self._try(service, ended) for service in services)
                    # Seals alone wait for an operator's word, perhaps for long, and rows must not wait with them.
                    self._require_same_log(services, and_seals=False)
                    pause = waits or (PAUSE[0] if safe != seen else pause)
                    seen, looked = -1 if waits else safe, now
                pause = PAUSE[0] if self._seal(sealer) else pause
                self._report(services, report)
                if now - cleared >= CLEAR:
                    cleared = now
                    expiry.clear()
            except Error as error:
                self._report_error("a database", error)
                pause = 1.0

    def _report(self, services: list[str], every: float) -> None:
        """Print how far each projector is, if it is time for it."""
        if time.monotonic() - self.reported >= every:
            self.reported = time.monotonic()
            self.stdout.write(f"{timezone.now():%Y-%m-%dT%H:%M:%SZ} {_progress(services)}")

    def _try(self, service: str, stopped: Callable[[], bool]) -> float:
        """Bring one service up to the log; returns in how many seconds to try again if that fails, so others go on."""
        try:
            if _catch_up(service, stopped):
                return 0.0
            return PAUSE[0] if service == settings.PROCESSES else TAKEN
        except Error as error:
            self._report_error(service, error)
            return 1.0

    def _seal(self, sealer: seals.Sealer) -> bool:
        try:
            return sealer.tick()
        except seals.CannotSeal as error:
            logger.error("This worker seals nothing: %s", error)
            self.seals_stopped = str(error) if isinstance(error, seals.OF_ANOTHER_LOG) else ""
            return False

    def _require_same_log(self, services: list[str], *, and_seals: bool) -> None:
        """End with an error, which a supervisor reports, if readers have found that the log went back.

        `and_seals`: also if the sealer alone has.
        """
        stopped = [f"{name} of {service}" for service in services for name in identity.stopped(service)]
        stopped += [f"webhook {endpoint.pk}" for endpoint in endpoints.went_back()]
        wrong = [f"the log went back: {', '.join(stopped)} stopped; run replay_events"] if stopped else []
        if self.seals_stopped and (wrong or and_seals):
            wrong.append(f"the seals stopped: {self.seals_stopped}, and seal_events --new-chain if you know why")
        if wrong:
            raise CommandError(f"{'; '.join(wrong)}; then start this again")

    def _report_error(self, what: str, error: Exception) -> None:
        self.complaints.say(what, error)
        close_old_connections()


def _catch_up(service: str, stopped: Callable[[], bool] = lambda: False, *, turn: bool = True) -> bool:
    """Bring one service, or the processes, up to the log.

    False if others had all projectors of the service, or if there is more to do at the end of its turn. Without a
    `turn`, it goes on until everything is done.
    """
    if service == settings.PROCESSES:
        return running.run(stopped)
    late = running.turn_of(stopped) if turn else stopped
    done = not projecting.behind(service) or projecting.catch_up(service, stopped=late, sharing=True)
    reacting.catch_up(service, late)
    return done and not late()


def _progress(services: list[str]) -> str:
    """One line: the position of each reader, its lag and dead letters, and what a projector had from this process."""
    known = [reader for service in services for reader in readers.of(service)]
    at = progress.of_readers(known)
    return "; ".join(
        f"{each.name} at {each.reached.position}, {at[each.key].lag_events} behind, {each.dead_letters} set aside"
        f"{_from_here(each)}"
        for each in known
    )


def _from_here(reader: Reader) -> str:
    return f", {projecting.taken[reader.name]} from here" if reader.kind == "projector" else ""
