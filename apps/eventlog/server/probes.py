"""Probes: is the process alive, and do its databases answer?"""

from collections.abc import Callable

from django.db import connections
from django.http import HttpRequest, HttpResponse, JsonResponse

LIVEZ, READYZ = "/livez", "/readyz"


class ProbeMiddleware:
    """Answers probes before anything else. They come without TLS, and for a host that is not in ALLOWED_HOSTS."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if request.path_info == LIVEZ:
            return livez()
        return readyz() if request.path_info == READYZ else self.get_response(request)


def livez() -> HttpResponse:
    """200 if the process answers. No database is asked."""
    return HttpResponse("ok\n", content_type="text/plain")


def readyz() -> HttpResponse:
    """200 if each database answers, else 503. The body says which do."""
    state = {alias: _answers(alias) for alias in connections}
    return JsonResponse(state, status=200 if all(state.values()) else 503)


def _answers(alias: str) -> bool:
    try:
        with connections[alias].cursor() as cursor:
            cursor.execute("SELECT 1")
    except Exception:
        return False
    return True
