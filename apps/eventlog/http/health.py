"""What probes ask: is the process alive, and can it do its work?"""

from django.db import connections
from django.http import HttpRequest, HttpResponse, JsonResponse


def livez(request: HttpRequest) -> HttpResponse:
    """The process answers; no database is asked."""
    return HttpResponse("ok\n", content_type="text/plain")


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
