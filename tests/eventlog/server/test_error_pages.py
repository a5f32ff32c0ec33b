"""Errors: people get pages, programs get problems with a detail."""

from typing import Any
from unittest.mock import patch

import pytest
from django.contrib.auth import get_user_model
from django.db import OperationalError
from django.http import HttpRequest, HttpResponse
from django.test import Client

from apps.eventlog.server.asgi import busy
from apps.eventlog.server.error_pages import for_people
from tests.support.api import Api

PEOPLE, PROGRAM = {"Accept": "text/html,*/*;q=0.8"}, {"Accept": "application/json"}


def fails(error: Exception) -> Any:
    def view(request: HttpRequest) -> HttpResponse:
        raise error

    return patch("apps.eventlog.read.pages.render", side_effect=lambda *args: view(args[0]))


def is_ours(answer: Any) -> bool:
    return b'class="home"' in answer.content and "script-src 'self'" in answer.headers["Content-Security-Policy"]


def test_a_page_that_is_not_there_is_ours(settings: Any) -> None:
    for settings.DEBUG in (False, True):
        answer = Client().get("/nowhere/<script>alert(1)</script>/", headers=PEOPLE)
        assert (answer.status_code, is_ours(answer)) == (404, True)
        assert b"<script>alert" not in answer.content
        assert b"There is no such page" in answer.content


def test_a_fault_of_ours_is_a_page_without_its_secrets(settings: Any) -> None:
    client = Client(raise_request_exception=False)
    with fails(ZeroDivisionError("a secret")):
        answer = client.get("/", headers=PEOPLE)
    assert answer.status_code == 500
    assert b"Something is wrong with the site" in answer.content
    assert b"secret" not in answer.content


def test_a_database_that_is_away_is_a_page_and_says_when_to_come_again() -> None:
    with fails(OperationalError("the server has closed the connection")):
        answer, problem = (Client().get("/", headers=headers) for headers in (PEOPLE, PROGRAM))
    assert (answer.status_code, is_ours(answer), answer.headers["Retry-After"]) == (503, True, "2")
    assert b"nothing was lost" in answer.content
    assert problem.headers["Content-Type"] == "application/problem+json"


def test_what_one_may_not_see_says_which_permission_it_takes() -> None:
    client = Client()
    client.force_login(get_user_model().objects.create(username="clerk", is_staff=True))
    answer = client.get("/admin/projectors/", headers=PEOPLE)
    assert answer.status_code == 403
    assert b"this needs the permission eventlog.view_job" in answer.content
    refused = Client(enforce_csrf_checks=True).post("/login/", headers=PEOPLE)
    assert (refused.status_code, b"This page is too old" in refused.content) == (403, True)


@pytest.mark.parametrize(
    ("method", "path", "status", "detail"),
    [
        ("GET", "/api/nowhere/", 404, "/api/schema/"),
        ("POST", "/api/orders", 404, "/api/schema/"),
        ("DELETE", "/api/orders/", 405, "DELETE"),
    ],
)
def test_a_program_gets_a_problem_with_a_detail(api: Api, method: str, path: str, status: int, detail: str) -> None:
    for headers in (PEOPLE, PROGRAM):  # under /api/ also a browser
        answer = Client().generic(method, path, "{}", "application/json", headers=api.staff.headers | headers)
        assert (answer.status_code, answer.headers["Content-Type"]) == (status, "application/problem+json")
        assert detail in answer.json()["detail"]  # type: ignore[attr-defined]


def test_a_queue_that_is_full_is_a_page_for_people_alone() -> None:
    assert b"Too many requests wait" in for_people("/admin/", PEOPLE["Accept"], busy("too many requests wait")).content  # type: ignore[attr-defined]
    for path, accept in (("/api/orders/", PEOPLE["Accept"]), ("/admin/", "*/*")):
        assert for_people(path, accept, busy("full")).headers["Content-Type"] == "application/problem+json"
