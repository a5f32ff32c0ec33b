"""Gives each request its ids, and lets the log and the metrics know of it: the outermost middleware."""

from collections.abc import Callable
from functools import partial
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.utils.functional import LazyObject

from apps.eventlog.api.conditions import AWAITED
from apps.eventlog.monitoring import spans
from apps.eventlog.monitoring.visit import UNMATCHED, VISIT, Visit, while_visiting, who
from apps.eventlog.server.asgi import AsyncResponse
from apps.eventlog.server.probes import LIVEZ, READYZ

PROBES = (LIVEZ, READYZ)


class VisitMiddleware:
    """Our ASGI server has made the visit already, and finishes it itself if it has not come this far, if the request
    will be run again, or if the answer is a stream. All else is written here: on the event loop, the thread that has
    answered and the loop would take Python's lock from each other, and a line would cost four times as much.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        visit: Visit = request.META.get(VISIT) or Visit.of_environ(request.META)
        response = self._traced(request, visit) if spans.tracing() else self._answer(request, visit)
        visit.mark(response)
        if AWAITED not in request.META and not isinstance(response, AsyncResponse):
            visit.quiet = request.path_info in PROBES
            visit.finish(response.status_code)
        return response

    def _answer(self, request: HttpRequest, visit: Visit) -> HttpResponse:
        response: HttpResponse = while_visiting(visit, partial(self.get_response, request))
        visit.route, visit.who = _route(request), _who(request)
        return response

    def _traced(self, request: HttpRequest, visit: Visit) -> HttpResponse:
        with spans.request(visit.method, visit.origin.traceparent):
            visit.origin = visit.origin._replace(traceparent=spans.traceparent())
            response = self._answer(request, visit)
            spans.add(route=visit.route, status=response.status_code)
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
