"""Every error under /api/ is a problem document (RFC 9457)."""

import logging
from collections.abc import Callable, Iterable, Iterator
from http import HTTPStatus
from typing import Any
from urllib.parse import unquote_to_bytes

import msgspec
from django.conf import settings
from django.core.exceptions import DisallowedHost, RequestDataTooBig
from django.db.utils import DatabaseError, InterfaceError, InternalError, OperationalError, ProgrammingError
from django.http import Http404, HttpRequest, HttpResponse
from django.middleware.common import CommonMiddleware
from rest_framework.exceptions import APIException, PermissionDenied, ValidationError

from apps.eventlog.aggregates import Erased, RuleBroken
from apps.eventlog.encryption.data_keys import MissingKey, WrongKey
from apps.eventlog.events import InvalidEvent, UnknownEvent
from apps.eventlog.repository import Forbidden, NotFound, PreconditionFailed
from apps.eventlog.reservations import Outdated, Reserved
from apps.eventlog.store import WrongExpectedVersion

logger = logging.getLogger(__name__)

CONTENT_TYPE = "application/problem+json"
NO_SNIFFING = {"X-Content-Type-Options": "nosniff"}  # for what is answered before Django's middleware has a say
STATUS = {
    Http404: 404,
    NotFound: 404,
    PermissionDenied: 403,
    Forbidden: 403,
    InvalidEvent: 400,
    RuleBroken: 409,
    Reserved: 409,
    WrongExpectedVersion: 409,
    Erased: 410,
    PreconditionFailed: 412,
    RequestDataTooBig: 413,
    OperationalError: 503,
    InterfaceError: 503,
    WrongKey: 503,
    MissingKey: 503,
    Outdated: 503,
    UnknownEvent: 503,
}
# The longest text (characters) and the longest list of errors (bytes) of a problem. Without these bounds a request
# could make the server send its whole body back.
TEXT = 300
ERRORS = 4000
RETRY_AFTER = {
    WrongExpectedVersion: 1,
    OperationalError: 2,
    InterfaceError: 2,
    MissingKey: 60,
    Outdated: 60,
    UnknownEvent: 60,
}
# Of errors that no view of ours has answered, in place of Django's pages.
DETAILS = {
    400: "the request cannot be understood",
    403: "this request is not allowed; one with a session needs its CSRF token",
    404: "there is nothing at this address; /api/schema/ has every route",
    405: "this address does not take this method",
    500: "a fault of the server, which is in its log under this X-Request-ID",
}
READ_ONLY = "25006"  # PostgreSQL's code of read_only_sql_transaction


class TooLarge(APIException):
    status_code = 413
    default_detail = "the body is too large"


class Unavailable(APIException):
    """The answer does not exist yet; after `wait` seconds it may."""

    status_code = 503
    default_detail = "not available yet"
    wait = 1


def problem(status: int, detail: str = "", **more: Any) -> HttpResponse:
    """A problem document. `more` has further members. A long detail is cut short."""
    title = HTTPStatus(status).phrase
    body = {"type": "about:blank", "title": title, "status": status, "detail": shortened(detail), **more}
    content = msgspec.json.encode(body, enc_hook=str)
    return HttpResponse(content, status=status, content_type=CONTENT_TYPE, headers=NO_SNIFFING)


def exception_handler(error: Exception, context: dict[str, Any]) -> HttpResponse | None:
    """The answer to an exception of an API view; None if the exception is a bug, which is a 500."""
    if isinstance(error, ValidationError):
        return problem(400, "some fields are not valid", **_first(_field_errors(error.get_full_details())))
    if isinstance(error, APIException):
        response = problem(error.status_code, str(error.detail))
        _set_headers(response, getattr(error, "auth_header", None), getattr(error, "wait", None))
        return response
    kind = next((kind for kind in STATUS if isinstance(error, kind)), None)
    if isinstance(error, DatabaseError) and (_lacks_migrations(error) or _is_read_only(error)):
        kind = OperationalError
    if kind is None:
        return None
    if STATUS[kind] == 503:
        response = _unavailable(error)
    elif isinstance(error, Reserved):
        field = error.scope.rpartition(".")[2]
        response = problem(409, str(error), errors=[{"pointer": f"/{field}", "detail": "already taken"}])
    elif isinstance(error, InvalidEvent):
        response = problem(
            400, str(error), errors=[{"pointer": pointer_of(error.field.split(".")), "detail": error.rule}]
        )
    else:
        response = problem(STATUS[kind], "not found" if STATUS[kind] == 404 else str(error))
    _set_headers(response, None, RETRY_AFTER.get(kind))
    return response


def _unavailable(error: Exception) -> HttpResponse:
    if isinstance(error, MissingKey | Outdated):
        logger.error("%s", error)
        return problem(503, str(error))
    if isinstance(error, UnknownEvent):
        logger.warning("an event cannot be read: %s", error)
        return problem(503, f"this code cannot read the stream; nothing was lost: {error}")
    if _lacks_migrations(error):
        logger.error("a migration is missing, run `manage.py migrate`: %s", error)
        return problem(503, "a database lacks a migration of this version; an operator must migrate it")
    logger.warning("database unavailable: %s", error)
    state = "read-only" if _is_read_only(error) else "not available"
    return problem(503, f"a database is {state} at the moment; nothing was lost, try again")


def _lacks_migrations(error: Exception) -> bool:
    """Has the database no such table, or no such column?"""
    if isinstance(error, ProgrammingError):
        return getattr(error.__cause__, "sqlstate", None) in ("42P01", "42703")
    return isinstance(error, OperationalError) and "no such " in str(error)  # SQLite has no code for it


def _is_read_only(error: Exception) -> bool:
    if isinstance(error, InternalError):
        return getattr(error.__cause__, "sqlstate", None) == READ_ONLY
    return isinstance(error, OperationalError) and "readonly" in str(error)


def _set_headers(response: HttpResponse, auth_header: str | None, wait: float | None) -> None:
    if auth_header:
        response["WWW-Authenticate"] = auth_header
    if wait is not None:
        response["Retry-After"] = str(max(1, round(wait)))


def shortened(text: str, size: int = TEXT) -> str:
    """The text, or its beginning with an ellipsis if it has more than `size` characters."""
    return text if len(text) <= size else f"{text[: size - 1]}…"


def pointer_of(path: Iterable[str | int]) -> str:
    """The JSON pointer (RFC 6901) of a path; a long one is cut short."""
    keys = (shortened(str(key)).replace("~", "~0").replace("/", "~1") for key in path)
    return shortened("".join(f"/{key}" for key in keys))


def _first(errors: Iterable[dict[str, str]]) -> dict[str, Any]:
    """As many errors as fit into ERRORS bytes, and the number of the others."""
    kept, size, rest = [], 0, 0
    for error in errors:
        size += len(msgspec.json.encode(error))
        if size <= ERRORS:
            kept.append(error)
        else:
            rest += 1
    return {"errors": kept, "more_errors": rest} if rest else {"errors": kept}


def _field_errors(details: Any, *path: str | int) -> Iterator[dict[str, str]]:
    """Flatten DRF's nested details: one entry for each error, with its JSON pointer (RFC 6901)."""
    if isinstance(details, dict) and set(details) == {"message", "code"}:
        yield {"pointer": pointer_of(path), "detail": shortened(str(details["message"])), "code": str(details["code"])}
    elif isinstance(details, dict):
        for key, inner in details.items():
            yield from _field_errors(inner, *path, *([] if key == "non_field_errors" else [key]))
    else:
        leaves = all(isinstance(inner, dict) and set(inner) == {"message", "code"} for inner in details)
        for index, inner in enumerate(details):
            yield from _field_errors(inner, *path, *([] if leaves else [index]))


class ProblemMiddleware:
    """Turns every other error under /api/ into a problem, and a database that does not answer into a 503."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if "\0" in request.path or not _is_text(request.META.get("QUERY_STRING", "")):
            return problem(400, "the URL is not text: it has a NUL, or is not UTF-8")
        most = settings.DATA_UPLOAD_MAX_NUMBER_FIELDS
        if most is not None and request.META.get("QUERY_STRING", "").count("&") >= most:
            # Django raises this only when something reads them. Its error page reads them too, so it would fail itself.
            return problem(400, f"more than {most} query parameters")
        try:
            request.get_host()
        except DisallowedHost as error:
            logger.warning(error)
            return problem(400, "the Host header has a name that is not in ALLOWED_HOSTS")
        response = self.get_response(request)
        if f"{request.path}/".startswith("/api/") and response.status_code >= 400 and not _is_problem(response):
            return _in_place_of(response)
        return response

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        return exception_handler(error, {}) if isinstance(error, DatabaseError | InterfaceError) else None


def _in_place_of(page: HttpResponse) -> HttpResponse:
    """A problem in the place of a page, with those of its headers that fit: what a browser may do with it, say."""
    found = problem(page.status_code, DETAILS.get(page.status_code, "this request cannot be answered"))
    for name, value in page.headers.items():
        if name != "Content-Length":
            found.headers.setdefault(name, value)
    return found


def _is_text(query: str) -> bool:
    try:
        return "\0" not in unquote_to_bytes(query.encode("latin-1")).decode()
    except UnicodeError:
        return False


def _is_problem(response: HttpResponse) -> bool:
    return response.get("Content-Type", "").startswith(CONTENT_TYPE)


class SlashMiddleware(CommonMiddleware):
    """Redirects a GET without its last slash. A POST without it is not found: a redirect would lose its body."""

    def should_redirect_with_slash(self, request: HttpRequest) -> bool:
        return request.method in ("GET", "HEAD") and super().should_redirect_with_slash(request)
