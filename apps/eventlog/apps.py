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
        # What a start makes stays: the collector, which manage.py turned off, works from here on without looking at it.
        gc.freeze()
        gc.enable()
