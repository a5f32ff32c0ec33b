"""`GET /metrics`: what Prometheus scrapes. For METRICS_TOKEN, for staff who see the log, and under DEBUG for all."""

from typing import Any

from django.conf import settings
from django.http import HttpResponse
from drf_spectacular.utils import extend_schema
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.request import Request
from rest_framework.settings import api_settings
from rest_framework.viewsets import ViewSet

from apps.eventlog.api.access import DeclaredAccess, open_to
from apps.eventlog.api.conditions import not_stored
from apps.eventlog.api.monitoring_token import MonitoringAuthentication
from apps.eventlog.live.credentials import SEE_LOG
from apps.eventlog.read.exposition import exposition

MONITORED_BY: Any = [MonitoringAuthentication, *api_settings.DEFAULT_AUTHENTICATION_CLASSES]


class MetricsAccess(DeclaredAccess):
    def has_permission(self, request: Request, view: Any) -> bool:
        return settings.DEBUG or super().has_permission(request, view)


class TakesAnyForm(BaseContentNegotiation):
    """The view looks at the Accept header itself: it names forms that no renderer of ours has."""

    def select_parser(self, request: Request, parsers: Any) -> Any:
        return parsers[0]

    def select_renderer(self, request: Request, renderers: Any, format_suffix: Any = None) -> Any:
        return renderers[0], renderers[0].media_type


@extend_schema(exclude=True)
class MetricsViewSet(ViewSet):
    authentication_classes = MONITORED_BY
    permission_classes = [MetricsAccess]
    content_negotiation_class = TakesAnyForm

    @open_to(SEE_LOG)
    def list(self, request: Request) -> HttpResponse:
        """All metrics, in the text form of Prometheus or as OpenMetrics."""
        text, content_type = exposition(request.headers.get("Accept", ""))
        answer: HttpResponse = not_stored(HttpResponse(text, content_type=content_type))
        return answer


metrics = MetricsViewSet.as_view({"get": "list"})
