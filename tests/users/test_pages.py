"""The page on which everybody logs in: staff and customers, by the same passwords and limits as in the API."""

from typing import Any

import pytest
from django.test import Client

from tests.support.api import PASSWORD, Api


@pytest.fixture
def ann(api: Api) -> Api:
    return api.customer("ann@example.org", "Ann")


def log_in(client: Client, name: str, password: str, **more: str) -> Any:
    return client.post("/login/", {"username": name, "password": password, **more})


def test_a_customer_logs_in_by_address_and_comes_to_their_orders(ann: Api) -> None:
    client = Client()
    assert log_in(client, "Ann@example.org", PASSWORD).headers["Location"] == "/"
    assert client.get("/").headers["Location"] == "/orders/"
    page = client.get("/orders/").content.decode()
    assert "Your orders" in page
    assert "Ann" in page
    assert "/admin/" not in page
    assert client.get("/api/orders/").status_code == 200  # by the session
    client.post("/logout/")
    assert client.get("/orders/").headers["Location"] == "/login/?next=/orders/"


@pytest.mark.parametrize(("name", "password"), [("ann@example.org", "wrong"), ("nobody", "x"), ("\0", "x"), ("", "")])
def test_a_wrong_login_is_refused_and_says_no_more(ann: Api, name: str, password: str) -> None:
    client = Client()
    answer = log_in(client, name, password)
    assert (answer.status_code, "_auth_user_id" in client.session) == (200, False)
    assert b'role="alert"' in answer.content


@pytest.mark.parametrize("where", ["https://evil.example/", "//evil.example", "javascript:alert(1)", "/\\evil.example"])
def test_the_way_on_leads_to_this_site_alone(ann: Api, where: str) -> None:
    assert log_in(Client(), "ann@example.org", PASSWORD, next=where).headers["Location"] == "/"
    assert log_in(Client(), "ann@example.org", PASSWORD, next="/orders/").headers["Location"] == "/orders/"


def test_guesses_are_counted_with_those_at_the_api(ann: Api, settings: Any) -> None:
    for _ in range(10):
        log_in(Client(), "ann@example.org", "a guess")
    refused = log_in(Client(), "ann@example.org", PASSWORD)
    assert b"too many tries" in refused.content
    assert ann.post("auth/login/", {"username": "ann@example.org", "password": PASSWORD}).status == 429


def test_the_form_needs_the_csrf_token() -> None:
    assert Client(enforce_csrf_checks=True).post("/login/", {"username": "a", "password": "b"}).status_code == 403
