"""django-eventstream as it comes: its own view, `send_event`, its storage in the database. A project in one file."""

import os
from urllib.parse import unquote

import environ
from django.conf import settings

if not settings.configured:
    database = environ.Env.db_url_config(os.environ["EVENTSTREAM_DATABASE_URL"])
    settings.configure(
        SECRET_KEY="bench",
        ALLOWED_HOSTS=["*"],
        ROOT_URLCONF=__name__,
        INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", "django_eventstream"],
        DATABASES={"default": {**database, "HOST": unquote(database["HOST"])}},
        EVENTSTREAM_STORAGE_CLASS="django_eventstream.storage.DjangoModelStorage",
        DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
        USE_TZ=True,
    )
    import django

    django.setup()

from django.core.asgi import get_asgi_application
from django.core.management import call_command
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import include, path
from django_eventstream import send_event
from django_eventstream.storage import DjangoModelStorage


def send(request: HttpRequest) -> JsonResponse:
    send_event("events", "message", request.body.decode(), json_encode=False)
    return JsonResponse({"id": DjangoModelStorage().get_current_id("events")})


urlpatterns = [
    path("events/", include("django_eventstream.urls"), {"channels": ["events"]}),
    path("send/", send),
    path("livez", lambda request: HttpResponse("ok")),
]

if __name__ == "__main__":
    call_command("migrate", verbosity=0)
else:
    application = get_asgi_application()
