"""Gives each request its ids, and lets the log and the metrics know of it: the outermost middleware."""

from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.utils.functional import LazyObject

from apps.eventlog.monitoring import origin, spans
from apps.eventlog.monitoring.visit import UNMATCHED, VISIT, Visit, visiting, who

PROBES = ("/livez", "/readyz")


class VisitMiddleware:
    """Our ASGI server has made the visit already, and writes its line when the answer is sent. Any other server does
    not, so this does.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        known: Visit | None = request.META.get(VISIT)
        visit = known or Visit.of_environ(request.META)
        with spans.request(request.method or "", visit.origin.traceparent):
            if traceparent := spans.traceparent():
                visit.origin = visit.origin._replace(traceparent=traceparent)
            with origin.within(visit.origin), visiting(visit):
                response = self.get_response(request)
            visit.route, visit.who = _route(request), _who(request)
            spans.add(route=visit.route, status=response.status_code)
        visit.mark(response)
        if known is None:
            visit.quiet = request.path_info in PROBES
            visit.finish(response.status_code)
        return response


def _route(request: HttpRequest) -> str:
    """The pattern that the path fits, never the path: it may have ids, and whatever somebody has typed."""
    if request.resolver_match is not None:
        return f"/{request.resolver_match.route}"
    static = str(settings.WHITENOISE_STATIC_PREFIX)
    return static if request.path_info.startswith(static) else UNMATCHED


def _who(request: HttpRequest) -> str:
    """Who has been asked for. If no view has, nobody is: to look at the session would cost a query."""
    user: Any = getattr(request, "user", None)
    user = getattr(request, "_cached_user", None) if isinstance(user, LazyObject) else user
    return "nobody" if user is None else who(user)
