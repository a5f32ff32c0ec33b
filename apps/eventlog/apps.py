"""The event log as a Django app: finds the handlers, projectors and reactors of every service."""

import gc

from django.apps import AppConfig
from django.core.signals import request_started
from django.utils.module_loading import autodiscover_modules

from apps.eventlog.server.dead_connections import close_dead_connections


class EventlogConfig(AppConfig):
    name = "apps.eventlog"
    verbose_name = "Event log"

    def ready(self) -> None:
        request_started.connect(close_dead_connections)
        autodiscover_modules("events", "write.handlers", "read.projectors", "reactors")
        # The rooms of the admin, whose __init__.py stays empty.
        autodiscover_modules("admin.log", "admin.privacy", "admin.projectors", "admin.tokens")
        _look_for_garbage_less_often()


def _look_for_garbage_less_often() -> None:
    """Tell Python's collector what this application makes, for all processes and in this one place.

    What is there after the start stays, so the collector need not look at it again, not even when the process ends: a
    command takes 0.38 s of processor time and not 0.57 s. And it looks when there are 100,000 new objects, not 700, for
    a batch of a rebuild makes and drops nearly as many: a rebuild takes 0.89 of the time on PostgreSQL and 0.95 on
    SQLite. (Medians of 15 starts and of five rebuilds of 150,000 events, in turns.)
    """
    gc.freeze()
    gc.set_threshold(100_000)
