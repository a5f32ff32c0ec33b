"""The page at `/`: the live log for staff, for customers what is theirs, for others a short introduction."""

from django.conf import settings
from django.contrib.auth import authenticate, login
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render

from apps.eventlog.api.options import page
from apps.eventlog.projectors import categories


@page("GET", "HEAD")
def live(request: HttpRequest) -> HttpResponse:
    if request.user.is_authenticated and not request.user.is_staff and settings.CUSTOMERS_HOME:
        return redirect(settings.CUSTOMERS_HOME)
    return render(request, "eventlog/live.html", {"demo": settings.DEMO_LOGIN, "categories": sorted(categories())})


@page("POST")
def demo_login(request: HttpRequest) -> HttpResponse:
    """Log in as the demo's staff user, only if the settings say that there is one."""
    user = authenticate(request, username="admin", password="admin") if settings.DEMO_LOGIN else None  # noqa: S106
    if user is None:
        raise Http404
    login(request, user)
    return redirect("home")
