"""The WSGI application, for servers without the live stream."""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

application = get_wsgi_application()

from apps.eventlog.privacy.undone_erasures import refuse_to_serve  # noqa: E402  (needs the settings)
from apps.eventlog.server.follower import follow  # noqa: E402

refuse_to_serve()
follow()
