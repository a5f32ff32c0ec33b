"""`manage.py run_projectors`: project events as they come, for PROJECTIONS=worker."""

import signal
import threading
import time
from argparse import ArgumentParser
from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.db import Error, close_old_connections
from django.utils import timezone

from apps.eventlog import projectors, store
from apps.eventlog.api import expiry
from apps.eventlog.delivery import checkpoints, projecting, reacting
from apps.eventlog.delivery.dead_letters import open_dead_letters
from apps.eventlog.management.log_command import LogCommand
from apps.eventlog.projectors import Projector
from apps.eventlog.sealing import seals

PAUSE = (0.001, 0.02)  # seconds between two looks at the end of the log: after an event, after a long idle time
CLEAR = 3600.0  # seconds between two looks for what has had its time
LOOK_ANYWAY = 1.0  # seconds; what another worker held or left behind shows at no new position


class Command(LogCommand):
    help = (
        "Projects events into the read models, runs the reactors and seals the log as events come. Any number may "
        "run, on any number of machines; stop it with SIGTERM or Ctrl-C."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--once", action="store_true", help="drain what is there, with what reactors make of it, and leave"
        )
        parser.add_argument("--service", action="append", choices=settings.SERVICES, help="only this; may be repeated")
        parser.add_argument(
            "--report", type=float, default=60.0, metavar="SECONDS", help="how often to say how far each is (60)"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        services = options["service"] or projectors.services()
        sealer = seals.Sealer()
        if options["once"]:
            passes = 1 + len(services)  # what a reaction causes is projected, and may cause the next one
            for service in services * passes:
                _drain(service)
            while self._seal(sealer):
                pass
            return
        stop = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
        self.stdout.write(f"Projecting {', '.join(services)}")
        self._follow(services, sealer, stop, options["report"])

    def _follow(self, services: list[str], sealer: seals.Sealer, stop: threading.Event, report: float) -> None:
        seen, looked, pause = -1, 0.0, PAUSE[0]
        told = cleared = time.monotonic()
        while not stop.wait(pause):
            now = time.monotonic()
            try:
                safe = store.safe_position()
                if safe == seen and now - looked < LOOK_ANYWAY:
                    pause = min(PAUSE[1], 1.5 * pause)
                else:
                    failed = [service for service in services if not self._try(service, stop.is_set)]
                    pause = 1.0 if failed else PAUSE[0] if safe != seen else pause
                    seen, looked = safe, now
                pause = PAUSE[0] if self._seal(sealer) else pause
                if now - told >= report:
                    self.stdout.write(f"{timezone.now():%Y-%m-%dT%H:%M:%SZ} {_progress(services)}")
                    told = now
                if now - cleared >= CLEAR:
                    cleared = now
                    expiry.clear()
            except Error as error:
                self._complain("a database", error)
                pause = 1.0

    def _try(self, service: str, stopped: Callable[[], bool]) -> bool:
        """Drain one service; the others go on where it cannot be."""
        try:
            _drain(service, stopped)
        except (Error, projecting.RowsAheadOfLog) as error:
            self._complain(service, error)
            return False
        return True

    def _seal(self, sealer: seals.Sealer) -> bool:
        try:
            return sealer.tick()
        except seals.CannotSeal as error:
            self.stderr.write(f"This worker seals nothing: {error}")
            return False

    def _complain(self, what: str, error: Exception) -> None:
        self.stderr.write(f"{what} cannot be followed, trying again: {error}")
        close_old_connections()


def _drain(service: str, stopped: Callable[[], bool] = lambda: False) -> None:
    if projecting.behind(service):
        projecting.catch_up(service, stopped=stopped)
    reacting.catch_up(service, stopped)


def _progress(services: list[str]) -> str:
    """In one line: the position of each projector of these services, its lag, and its dead letters."""
    parts = []
    for service in services:
        for name, position in checkpoints.positions(service).items():
            lag = checkpoints.lag(Projector.registry[name], position)
            open_letters = open_dead_letters(service).filter(projector=name).count()
            parts.append(f"{name} at {position}, {lag} behind, {open_letters} set aside")
    return "; ".join(parts)
