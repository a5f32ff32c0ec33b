"""The ASGI application: the API, the pages and the live stream on one port."""

import os

import django
import environ

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
django.setup()

from apps.eventlog.http.bridge import Bridge  # noqa: E402  (needs the settings)

application = Bridge(threads=environ.Env().int("WEB_THREADS", default=4))
