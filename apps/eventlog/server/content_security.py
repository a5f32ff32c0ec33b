"""The pages may run only scripts, and use only styles, that are files of this server. Data may run nothing."""

from collections.abc import Callable

from django.conf import settings
from django.http import HttpRequest, HttpResponse

STRICT = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)

BROWSABLE = STRICT.replace("style-src", "style-src 'unsafe-inline'")  # DRF's browsable pages have styles in their HTML


DATA = "default-src 'none'; frame-ancestors 'none'"  # if a browser opens an answer of the API, it shows it as a page


class ContentSecurityPolicyMiddleware:
    """Sends the policy with every answer."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        debugging = settings.DEBUG and response.status_code >= 400  # Django's own error pages, styled inline
        if not debugging:
            response.headers.setdefault("Content-Security-Policy", _policy(request.path, response))
        return response


def _policy(path: str, response: HttpResponse) -> str:
    if not path.startswith("/api/"):
        return STRICT
    return BROWSABLE if response.get("Content-Type", "").startswith("text/html") else DATA
