"""What probes ask: is the process alive, and can it do its work?"""

from collections.abc import Callable

from django.db import connections
from django.http import HttpRequest, HttpResponse, JsonResponse

LIVEZ = "/livez"
PROBES = (LIVEZ, "/readyz")


class ProbeMiddleware:
    """Takes probes by any name: they go by the address of a container, which ALLOWED_HOSTS cannot have."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if request.path in PROBES:
            request.get_host = str  # type: ignore[method-assign]  # no name, which nobody refuses
        return self.get_response(request)


def livez(request: HttpRequest) -> HttpResponse:
    """The process answers; no database is asked."""
    return HttpResponse("ok\n", content_type="text/plain", headers={"Content-Length": "3"})


def readyz(request: HttpRequest) -> JsonResponse:
    """Each database answers; 503 names those that do not."""
    state = {alias: _answers(alias) for alias in connections}
    return JsonResponse(state, status=200 if all(state.values()) else 503)


def _answers(alias: str) -> bool:
    try:
        with connections[alias].cursor() as cursor:
            cursor.execute("SELECT 1")
    except Exception:
        return False
    return True
