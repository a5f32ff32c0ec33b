"""The lasting credential of a monitor: METRICS_TOKEN reads the metrics and the status, and nothing else."""

from typing import Any

from django.conf import settings
from django.utils.crypto import constant_time_compare
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from rest_framework.authentication import BaseAuthentication
from rest_framework.request import Request

from apps.eventlog.live.credentials import SEE_LOG


class Monitor:
    """Who brings the token. It belongs to no login, so it goes on when people come and leave."""

    pseudonym = "monitor"
    is_authenticated = is_staff = is_active = True
    is_anonymous = is_superuser = False
    pk = None

    def get_username(self) -> str:
        return self.pseudonym

    def has_perm(self, permission: str) -> bool:
        return permission == SEE_LOG


class MonitoringAuthentication(BaseAuthentication):
    """`Authorization: Bearer <METRICS_TOKEN>`; for the views that name it, before the other ways."""

    def authenticate(self, request: Request) -> tuple[Any, None] | None:
        return (Monitor(), None) if is_monitoring(request.META.get("HTTP_AUTHORIZATION", "")) else None

    def authenticate_header(self, request: Request) -> str:
        return "Bearer"


class MonitoringScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """How the API's schema describes the token."""

    target_class = MonitoringAuthentication
    name = "monitoring"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        return {"type": "http", "scheme": "bearer"}


def is_monitoring(header: str) -> bool:
    """Does an Authorization header bring the token? It takes as long for a wrong one, wherever it differs."""
    scheme, _, token = header.partition(" ")
    given, known = token.strip().encode("latin-1", "replace"), settings.METRICS_TOKEN.encode()
    return bool(known) and scheme.lower() == "bearer" and constant_time_compare(given, known)
