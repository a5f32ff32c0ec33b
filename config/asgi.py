"""The ASGI application: the API, the pages and the live stream on one port."""

import os

import django
import environ
from django.db import connections

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
django.setup()

from apps.eventlog.privacy.undone_erasures import refuse_to_serve  # noqa: E402  (needs the settings)
from apps.eventlog.server.asgi import Bridge  # noqa: E402

refuse_to_serve()

application = Bridge(
    threads=environ.Env().int("WEB_THREADS", default=4),
    in_turn=all(connection.vendor == "sqlite" for connection in connections.all()),
)
