"""The event log as a Django app: finds the handlers, projectors and reactors of every service."""

import gc

from django.apps import AppConfig
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import request_started
from django.db.backends.signals import connection_created
from django.utils.module_loading import autodiscover_modules

from apps.eventlog.database import transaction_timeout
from apps.eventlog.database.dead_connections import close_dead_connections
from apps.eventlog.errors.log_lines import print_uncaught_without_values
from apps.eventlog.registry import DuplicateName


class EventlogConfig(AppConfig):
    name = "apps.eventlog"
    verbose_name = "Event log"

    def ready(self) -> None:
        request_started.connect(close_dead_connections)
        if not settings.DEBUG:  # a developer wants to see what the values were
            print_uncaught_without_values()
        connection_created.connect(transaction_timeout.lift)
        try:
            autodiscover_modules("events", "write.handlers", "read.projectors", "reactors")
        except DuplicateName as error:  # `manage.py` tells what is wrong with the code's set-up in one line
            raise ImproperlyConfigured(str(error)) from error
        # The rooms of the admin, whose __init__.py stays empty.
        autodiscover_modules("admin.log", "admin.privacy", "admin.projectors", "admin.tokens", "admin.webhooks")
        # What is there after the start stays. Without this line the collector of garbage looks through all of it again,
        # at the latest when the process ends: a command takes 0.57 s of processor time and not 0.38 s (medians of 15
        # starts in turns). Nothing else tunes the collector. To let it look less often saved a rebuild 2 % of its time
        # on SQLite and 6 % on PostgreSQL, and let the garbage of many requests pile up.
        gc.freeze()
