"""The ASGI application: the API, the pages and the live stream on one port."""

import os

import django
from django.conf import settings
from django.db import connections

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
django.setup()

from apps.eventlog.backup import unfinished  # noqa: E402  (needs the settings)
from apps.eventlog.monitoring.later import later  # noqa: E402
from apps.eventlog.privacy.undone_erasures import refuse_to_serve  # noqa: E402
from apps.eventlog.relay.webhooks.background import deliver_beside_the_server  # noqa: E402
from apps.eventlog.server.asgi import Bridge  # noqa: E402
from apps.eventlog.server.connection import guard_connections  # noqa: E402
from apps.eventlog.server.follower import follow  # noqa: E402

unfinished.refuse_to_serve()
refuse_to_serve()
guard_connections()
follow()
later.begin()

application = Bridge(
    queries=settings.WEB_THREADS,
    commands=settings.COMMAND_THREADS,
    passwords=settings.PASSWORD_THREADS,
    queue=settings.WEB_QUEUE,
    in_turn=all(connection.vendor == "sqlite" for connection in connections.all()),
)

deliver_beside_the_server()
