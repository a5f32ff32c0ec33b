"""`OPTIONS` for what the REST framework cannot describe: the answer names the methods, and nothing else."""

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed
from rest_framework.request import Request

View = Callable[[HttpRequest], HttpResponse]


def allowed(methods: list[str]) -> HttpResponse:
    return HttpResponse(status=204, headers={"Allow": ", ".join(methods)})


class MethodsAlone:
    """For an API view whose renderers write no JSON. It is mixed in before the view."""

    def options(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        return allowed(self.allowed_methods)  # type: ignore[attr-defined]

    def perform_content_negotiation(self, request: Request, force: bool = False) -> Any:
        """Nothing is rendered for `OPTIONS`, so any `Accept` will do."""
        force = force or request.method == "OPTIONS"
        return super().perform_content_negotiation(request, force=force)  # type: ignore[misc]


def page(*methods: str) -> Callable[[View], View]:
    """Let a page be asked by these methods and by `OPTIONS`."""
    known = [*methods, "OPTIONS"]

    def restrict(view: View) -> View:
        @wraps(view)
        def answer(request: HttpRequest) -> HttpResponse:
            if request.method == "OPTIONS":
                return allowed(known)
            return view(request) if request.method in methods else HttpResponseNotAllowed(known)

        return answer

    return restrict
