"""Pages of the admin that belong to no model: each declares the permission that it needs."""

from collections.abc import Callable
from functools import wraps

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse

from apps.eventlog.permissions import actor_of

Page = Callable[[HttpRequest], HttpResponse]


def needs(permission: str, **by_method: str) -> Callable[[Page], Page]:
    """Refuse a page to staff without its permission, or without that of the method: `needs(SEE, POST=CHANGE)`."""

    def mark(page: Page) -> Page:
        @wraps(page)
        def guarded(request: HttpRequest) -> HttpResponse:
            needed = by_method.get(request.method or "", permission)
            if not actor_of(request.user).may(needed):
                raise PermissionDenied(f"this needs the permission {needed}")
            return page(request)

        guarded.__dict__["needs"] = {"GET": permission} | by_method
        return guarded

    return mark
