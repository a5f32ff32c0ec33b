"""The ASGI application: the API, the pages and the live stream on one port."""

import os

import django
from django.db import connections

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
django.setup()

from apps.eventlog.privacy.undone_erasures import refuse_to_serve  # noqa: E402  (needs the settings)
from apps.eventlog.server.asgi import Bridge  # noqa: E402
from config.environment import Environment  # noqa: E402

refuse_to_serve()

application = Bridge(
    threads=Environment().int("WEB_THREADS", default=4),
    in_turn=all(connection.vendor == "sqlite" for connection in connections.all()),
)
