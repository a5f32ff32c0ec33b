"""Errors for people: pages in the site's look, where a browser asks for a page. Programs get problems."""

from collections.abc import Callable
from typing import Any

import msgspec
from django.db import DatabaseError
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.template.loader import render_to_string

from apps.eventlog.api.problems import CONTENT_TYPE
from apps.eventlog.server.content_security import STRICT

API = "/api/"
TITLES = {
    400: "This request cannot be understood",
    403: "This is not allowed",
    404: "There is no such page",
    405: "This cannot be done here",
    413: "This is too large",
    500: "Something is wrong with the site",
    503: "The site does not answer at the moment",
}
DEFAULTS = {
    404: "The address may be mistyped, or what was here is gone.",
    500: "It is not your fault, and it is written down. Nothing that was acknowledged is lost.",
    503: "Nothing is lost. Try again in a moment.",
}


class ErrorPagesMiddleware:
    """In place of a problem, or of Django's own page for what is not there, a page of ours."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        response = self.get_response(request)
        if response.status_code < 400 or response.streaming:
            return response
        return for_people(request.path, request.headers.get("Accept", ""), response, request)


def for_people(path: str, accept: str, response: Any, request: HttpRequest | None = None) -> HttpResponseBase:
    """The page in place of an error, if a browser has asked for a page; otherwise the error as it is."""
    is_problem = response.get("Content-Type", "").startswith(CONTENT_TYPE)
    is_missing = response.status_code == 404 and response.get("Content-Type", "").startswith("text/html")
    if f"{path}/".startswith(API) or "text/html" not in accept or not (is_problem or is_missing):
        return response  # type: ignore[no-any-return]
    detail = msgspec.json.decode(response.content).get("detail", "") if is_problem else ""
    return page(response, detail, request)


def page(response: HttpResponse, detail: str, request: HttpRequest | None) -> HttpResponse:
    """The page of a status, with the headers of the response in whose place it is."""
    status, said = response.status_code, detail or DEFAULTS.get(response.status_code, "")
    heading = TITLES.get(status, "This did not work")
    context = {"status": status, "heading": heading, "detail": f"{said[:1].upper()}{said[1:]}"}
    known = request if status == 404 and hasattr(request, "user") else None
    try:
        content = render_to_string("eventlog/error.html", context, known)
    except DatabaseError:  # the database of logins is away
        content = render_to_string("eventlog/error.html", context)
    headers = {"Content-Security-Policy": STRICT, "Cache-Control": "no-store"}
    found = HttpResponse(content, status=status, headers=headers)
    for name, value in response.headers.items():
        if name not in ("Content-Length", "Content-Type"):
            found.headers.setdefault(name, value)
    found.cookies.update(response.cookies)
    return found
