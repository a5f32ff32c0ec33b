"""The WSGI application, for servers that need no live stream."""

import gc
import os

from django.core.wsgi import get_wsgi_application

gc.disable()  # as in manage.py
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

application = get_wsgi_application()
gc.enable()

from apps.eventlog.privacy.undone_erasures import refuse_to_serve  # noqa: E402  (needs the settings)

refuse_to_serve()
