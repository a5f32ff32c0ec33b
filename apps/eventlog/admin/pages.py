"""Pages of the admin beside those that Django has for each model. Each declares the permission that it needs."""

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse

from apps.eventlog.commands import Actor

SEE_JOBS = "eventlog.view_job"
RUN_JOBS = "eventlog.run_job"

Page = Callable[[HttpRequest], HttpResponse]


def needs(permission: str, **by_method: str) -> Callable[[Page], Page]:
    """Refuse a page to staff who lack its permission, or that of the method: `@needs(SEE_JOBS, POST=RUN_JOBS)`."""

    def mark(page: Page) -> Page:
        @wraps(page)
        def guarded(request: HttpRequest) -> HttpResponse:
            needed = by_method.get(request.method or "", permission)
            if not Actor.of(request.user).may(needed):
                raise PermissionDenied(f"this needs the permission {needed}")
            return page(request)

        guarded.__dict__["needs"] = {"GET": permission} | by_method
        return guarded

    return mark


def needs_view(page: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
    """Refuse a page of a model to staff who may not see its rows."""

    @wraps(page)
    def guarded(self: Any, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if not self.has_view_permission(request):
            raise PermissionDenied("this needs the permission to see the rows")
        return page(self, request, *args, **kwargs)

    guarded.__dict__["needs"] = {"GET": "view"}
    return guarded
