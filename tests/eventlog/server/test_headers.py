"""What a browser is told: what it may run, show and keep; and by which cookies it is known."""

import subprocess
import sys
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.test import Client

from apps.eventlog.api.problems import problem
from tests.support.api import PASSWORD, Api

NOWHERE = "00000000-0000-0000-0000-000000000000"
PAGES = ["/", "/admin/login/", "/api/docs/", "/nowhere/"]
DATA = ["/api/orders/", "/api/schema/", f"/api/orders/{NOWHERE}/", "/api/auth/login/"]
IN_PLACE_OF_A_PAGE = "/api/nowhere/"
BEFORE_DJANGO = ["/livez", "/readyz", "/api/orders/?%00", "/api/orders/?" + "a&" * 1000]


def test_every_answer_says_what_it_is_and_what_may_be_done_with_it(api: Api) -> None:
    staff = api.staff
    for path in [*PAGES, IN_PLACE_OF_A_PAGE, *DATA, *BEFORE_DJANGO]:
        answer = staff.client.get(path, headers=staff.headers)
        sent = answer.headers
        assert (path, sent["X-Content-Type-Options"]) == (path, "nosniff")
        kind = sent["Content-Type"]
        assert "charset=utf-8" in kind or kind in {"application/json", "application/problem+json"}, path
        assert {"Server", "X-Powered-By", "Access-Control-Allow-Origin"}.isdisjoint(sent), path
        if path not in BEFORE_DJANGO:
            assert (path, sent["X-Frame-Options"], sent["Referrer-Policy"]) == (path, "DENY", "same-origin")
            policy = sent["Content-Security-Policy"]
            assert policy.startswith("default-src 'none'; "), path
            assert "frame-ancestors 'none'" in policy, path
            assert ("script-src 'self'" in policy) == (path not in DATA), path
            assert "script-src 'unsafe" not in policy, path


def test_what_the_server_refuses_by_itself_is_not_guessed_at() -> None:
    assert problem(431)["X-Content-Type-Options"] == "nosniff"


COOKIES = """
from django.conf import settings as s
from django.test import Client
page = Client().get("/admin/login/", secure=True)
names = [s.SESSION_COOKIE_NAME, s.CSRF_COOKIE_NAME]
print(*names, s.SESSION_COOKIE_PATH, s.SESSION_COOKIE_SECURE, s.SESSION_COOKIE_HTTPONLY, s.SESSION_COOKIE_SAMESITE)
print(page.cookies.output(header=""))
"""


@pytest.mark.parametrize(
    ("environment", "prefix", "path"),
    [({}, "__Host-", "/"), ({"SCRIPT_NAME": "/shop"}, "", "/shop"), ({"SECURE_COOKIES": "off"}, "", "/")],
)
def test_cookies_are_for_this_host_and_this_path_alone(
    environment: dict[str, str], prefix: str, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SECURE_COOKIES")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    command = [sys.executable, "manage.py", "shell", "-v0", "-c", COOKIES]
    first, sent = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout.splitlines()
    secure = "SECURE_COOKIES" not in environment
    assert first == f"{prefix}sessionid {prefix}csrftoken {path} {secure} True Lax"
    assert f"{prefix}csrftoken=" in sent
    assert f"Path={path};" in sent
    assert ("Secure" in sent) == secure
    assert "Domain" not in sent


def test_a_login_leads_to_no_other_site_and_ends_within_half_a_day(settings: Any) -> None:
    get_user_model().objects.create_superuser("root", password=PASSWORD)
    form = {"username": "root", "password": PASSWORD}
    for target in ("https://evil.example/", "//evil.example/", "/\\evil.example/", "javascript:alert(1)"):
        answer = Client().post("/admin/login/", form | {"next": target})
        assert (target, answer.status_code, answer.headers["Location"]) == (target, 302, "/admin/")
        cookie = answer.cookies[settings.SESSION_COOKIE_NAME]
        assert int(cookie["max-age"]) <= 12 * 3600


def test_a_session_is_another_one_after_the_login(settings: Any) -> None:
    get_user_model().objects.create_superuser("root", password=PASSWORD)
    browser = Client()
    session = browser.session
    session["planted"] = "by somebody else"
    session.save()
    browser.cookies[settings.SESSION_COOKIE_NAME] = session.session_key
    browser.post("/admin/login/", {"username": "root", "password": PASSWORD})
    assert browser.cookies[settings.SESSION_COOKIE_NAME].value != session.session_key
    stranger = Client(headers={"Cookie": f"{settings.SESSION_COOKIE_NAME}={session.session_key}"})
    assert stranger.get("/admin/").status_code == 302


@pytest.mark.parametrize(
    "path",
    ["/static/", "/static/eventlog/", "/static/../manage.py", "/static/%2e%2e/%2e%2e/.env", "/.env", "/.git/HEAD"],
)
def test_nothing_but_static_files_is_served_from_the_disk(path: str) -> None:
    assert Client().get(path).status_code == 404
    assert Client().get("/static/eventlog/live.js").status_code == 200
