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
from apps.eventlog.delivery import identity, projecting, reacting
from apps.eventlog.management.log_command import Complaints, LogCommand, stopped_by_signals
from apps.eventlog.management.metrics_server import serve_metrics
from apps.eventlog.processing import running
from apps.eventlog.read import progress, readers
from apps.eventlog.sealing import seals

logger = logging.getLogger(__name__)

PAUSE = (0.001, 0.02)  # seconds between two looks at the end of the log: after an event, after a long idle time
CLEAR = 3600.0  # seconds between two deletions of what has expired
LOOK_ANYWAY = 1.0  # seconds; another worker may have left events undone, and no new position shows that
TIMERS = 0.5  # seconds; the same if there may be timers, which fire without an event


class Command(LogCommand):
    help = (
        "Projects events into the read models, runs the reactors and the processes, and seals the log, as events "
        "come. Any number of "
        "these processes may run, on any number of machines. Stop it with SIGTERM or Ctrl-C. Exit status 1: the log "
        "went back, and readers have stopped; replay_events repairs that."
    )

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.complaints = Complaints()

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--once", action="store_true", help="do what waits, including what reactions cause, then stop"
        )
        parser.add_argument(
            "--service",
            action="append",
            choices=[*settings.SERVICES, settings.PROCESSES],
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
        services = options["service"] or [*projectors.services(), settings.PROCESSES]
        sealer = seals.Sealer()
        if options["once"]:
            passes = 1 + len(services)  # a reaction may append events, and these may cause the next reaction
            for service in services * passes:
                _catch_up(service)
            while self._seal(sealer):
                pass
            _require_same_log(services)
            return
        if options["metrics_port"]:
            serve_metrics(options["metrics_host"], options["metrics_port"])
        with stopped_by_signals() as stop:
            self.stdout.write(f"Projecting {', '.join(services)}")
            self._follow(services, sealer, stop, options["report"])

    def _follow(self, services: list[str], sealer: seals.Sealer, stop: threading.Event, report: float) -> None:
        seen, looked, pause = -1, 0.0, PAUSE[0]
        reported = cleared = time.monotonic()
        while not stop.wait(pause):
            now = time.monotonic()
            try:
                safe = store.safe_position()
                if safe == seen and now - looked < (TIMERS if settings.PROCESSES in services else LOOK_ANYWAY):
                    pause = min(PAUSE[1], 1.5 * pause)
                else:
                    failed = [service for service in services if not self._try(service, stop.is_set)]
                    _require_same_log(services)
                    pause = 1.0 if failed else PAUSE[0] if safe != seen else pause
                    seen, looked = safe, now
                pause = PAUSE[0] if self._seal(sealer) else pause
                if now - reported >= report:
                    self.stdout.write(f"{timezone.now():%Y-%m-%dT%H:%M:%SZ} {_progress(services)}")
                    reported = now
                if now - cleared >= CLEAR:
                    cleared = now
                    expiry.clear()
            except Error as error:
                self._report_error("a database", error)
                pause = 1.0

    def _try(self, service: str, stopped: Callable[[], bool]) -> bool:
        """Bring one service up to the log; False if that fails, so that the others go on."""
        try:
            _catch_up(service, stopped)
        except Error as error:
            self._report_error(service, error)
            return False
        return True

    def _seal(self, sealer: seals.Sealer) -> bool:
        try:
            return sealer.tick()
        except seals.CannotSeal as error:
            logger.error("This worker seals nothing: %s", error)
            return False

    def _report_error(self, what: str, error: Exception) -> None:
        self.complaints.say(what, error)
        close_old_connections()


def _catch_up(service: str, stopped: Callable[[], bool] = lambda: False) -> None:
    if service == settings.PROCESSES:
        running.run(stopped)
        return
    if projecting.behind(service):
        projecting.catch_up(service, stopped=stopped)
    reacting.catch_up(service, stopped)


def _require_same_log(services: list[str]) -> None:
    """End with an error, which a supervisor reports, if readers have found that the log went back."""
    if stopped := [f"{name} of {service}" for service in services for name in identity.stopped(service)]:
        raise CommandError(f"the log went back: {', '.join(stopped)} stopped; run replay_events, then start this again")


def _progress(services: list[str]) -> str:
    """One line: the position of each reader of these services, its lag, and its open dead letters."""
    known = [reader for service in services for reader in readers.of(service)]
    at = progress.of_readers(known)
    return "; ".join(
        f"{each.name} at {each.reached.position}, {at[each.key].lag_events} behind, {each.dead_letters} set aside"
        for each in known
    )
