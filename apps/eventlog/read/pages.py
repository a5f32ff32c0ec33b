"""The page at `/`: the live log for staff, and what this is for everybody else."""

from django.conf import settings
from django.contrib.auth import authenticate, login
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)


def live(request: HttpRequest) -> HttpResponse:
    response = render(request, "eventlog/live.html", {"demo": settings.DEBUG})
    response["Content-Security-Policy"] = CONTENT_SECURITY_POLICY
    return response


@require_POST
def demo_login(request: HttpRequest) -> HttpResponse:
    """Log in as the demo staff, which exists while DEBUG is on and not otherwise."""
    user = authenticate(request, username="admin", password="admin") if settings.DEBUG else None  # noqa: S106
    if user is None:
        raise Http404
    login(request, user)
    return redirect("home")
