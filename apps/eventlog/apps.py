"""The event log as a Django app: finds the handlers, projectors and reactors of every service."""

from django.apps import AppConfig
from django.utils.module_loading import autodiscover_modules


class EventlogConfig(AppConfig):
    name = "apps.eventlog"
    verbose_name = "Event log"

    def ready(self) -> None:
        autodiscover_modules("events", "write.handlers", "read.projectors", "reactors")
        # The rooms of the admin, whose __init__.py stays empty.
        autodiscover_modules("admin.log", "admin.persons", "admin.projectors", "admin.tokens")
