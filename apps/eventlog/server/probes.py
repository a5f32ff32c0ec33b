"""What probes ask: is the process alive, and can it do its work?"""

from collections.abc import Callable

from django.conf import settings
from django.db import connections
from django.http import HttpRequest, HttpResponse, JsonResponse

from apps.eventlog.delivery import identity

LIVEZ, READYZ = "/livez", "/readyz"


class ProbeMiddleware:
    """Answers probes before all else: they come without TLS, and by an address that ALLOWED_HOSTS cannot have."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if request.path_info == LIVEZ:
            return livez()
        return readyz() if request.path_info == READYZ else self.get_response(request)


def livez() -> HttpResponse:
    """The process answers; no database is asked."""
    return HttpResponse("ok\n", content_type="text/plain")


def readyz() -> HttpResponse:
    """Each database answers, and the rows show this log; 503 names those for which that does not hold."""
    state: dict[str, bool | str] = {alias: _answers(alias) for alias in connections}
    if all(state.values()):
        state |= {service: "log_went_back" for service in settings.SERVICES if identity.went_back(service)}
    return JsonResponse(state, status=200 if all(each is True for each in state.values()) else 503)


def _answers(alias: str) -> bool:
    try:
        with connections[alias].cursor() as cursor:
            cursor.execute("SELECT 1")
    except Exception:
        return False
    return True
