"""The WSGI application, for servers without the live stream."""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

application = get_wsgi_application()

from apps.eventlog.backup import unfinished  # noqa: E402  (needs the settings)
from apps.eventlog.privacy.undone_erasures import refuse_to_serve  # noqa: E402
from apps.eventlog.relay.webhooks.background import deliver_beside_the_server  # noqa: E402
from apps.eventlog.server.follower import follow  # noqa: E402

unfinished.refuse_to_serve()
refuse_to_serve()
follow()
deliver_beside_the_server()
