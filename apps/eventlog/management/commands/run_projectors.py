"""`manage.py run_projectors`: project events as they come, for PROJECTIONS=worker."""

import signal
import threading
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand
from django.db import Error, close_old_connections

from apps.eventlog import delivery, projectors, reactors, seals, store

PAUSE = (0.005, 0.25)  # seconds between two looks at the log: after work, after a long idle time


class Command(BaseCommand):
    help = (
        "Projects events into the read models, runs the reactors and seals the log as events come. Any number may "
        "run, on any number of machines; stop it with SIGTERM or Ctrl-C."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--once", action="store_true", help="drain what is there and leave")
        parser.add_argument("--service", action="append", help="only this service; may be repeated")

    def handle(self, *args: Any, **options: Any) -> None:
        services = options["service"] or projectors.services()
        sealer = seals.Sealer()
        if options["once"]:
            self._drain(services)
            while sealer.tick():
                pass
            return
        stop = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
        self.stdout.write(f"Projecting {', '.join(services)}")
        head, pause = -1, PAUSE[0]
        while not stop.wait(pause):
            try:
                self._drain(services)
                before, head = head, store.head()
                pause = PAUSE[0] if sealer.tick() or head != before else min(PAUSE[1], 1.5 * pause)
            except Error as error:
                self.stderr.write(f"A database is not available, trying again: {error}")
                close_old_connections()
                pause = 1.0

    def _drain(self, services: list[str]) -> None:
        for service in services:
            if delivery.behind(service):
                delivery.catch_up(service)
            reactors.catch_up(service)
