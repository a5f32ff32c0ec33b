"""The pages may run only scripts, and use only styles, that are files of this server."""

from collections.abc import Callable

from django.conf import settings
from django.http import HttpRequest, HttpResponse

STRICT = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)

BROWSABLE = STRICT.replace("style-src", "style-src 'unsafe-inline'")  # DRF's browsable pages have styles in their HTML


class ContentSecurityPolicyMiddleware:
    """Sends the policy with every answer, except the API's data, which no browser shows as a page."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        debugging = settings.DEBUG and response.status_code >= 400  # Django's own error pages, styled inline
        data = request.path.startswith("/api/") and not response.get("Content-Type", "").startswith("text/html")
        if not data and not debugging:
            policy = BROWSABLE if request.path.startswith("/api/") else STRICT
            response.headers.setdefault("Content-Security-Policy", policy)
        return response
