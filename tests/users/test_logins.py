"""Logins: how many may fail, how many tokens there are, and what ends them."""

import logging
from concurrent.futures import ThreadPoolExecutor
from io import StringIO
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.password_validation import validate_password
from django.contrib.sessions.models import Session
from django.core.cache import cache
from django.core.exceptions import ValidationError
from django.core.management import call_command
from django.db import connections
from django.test import Client, RequestFactory
from knox.models import AuthToken

from apps.eventlog.api import throttles
from apps.eventlog.api.throttles import Slots, network_of
from apps.eventlog.live.credentials import Credential, valid
from apps.eventlog.models import Reservation
from apps.users.write import credentials
from tests.support.api import PASSWORD, Api

ANN = "ann@example.org"
NEW = "another horse battery"


@pytest.fixture(autouse=True)
def one_window(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(throttles, "time", SimpleNamespace(time=lambda: 1_000_000_000.0))


@pytest.fixture
def few(settings: Any) -> None:
    """Five failures of an account, seven of an address, three of both."""
    rates = {"login": "3/minute", "login_account": "5/hour", "login_address": "7/hour", "change_email": "2/hour"}
    settings.REST_FRAMEWORK = settings.REST_FRAMEWORK | {
        "DEFAULT_THROTTLE_RATES": settings.REST_FRAMEWORK["DEFAULT_THROTTLE_RATES"] | rates
    }


def guess(name: str = ANN, password: str = "wrong wrong", address: str = "192.0.2.1") -> int:
    body = {"username": name, "password": password}
    return Client(REMOTE_ADDR=address).post("/api/auth/login/", body, content_type="application/json").status_code


def test_failures_are_counted_of_an_account_from_an_address(api: Api, few: None) -> None:
    api.customer()
    assert [guess() for _ in range(4)] == [401] * 3 + [429]
    assert guess(password=PASSWORD) == 429
    assert guess(password=PASSWORD, address="192.0.2.2") == 200
    assert guess("other@example.org") == 401


def test_failures_are_counted_of_an_account_from_all_addresses(api: Api, few: None) -> None:
    api.customer()
    assert [guess(address=f"192.0.2.{n}") for n in range(6)] == [401] * 5 + [429]
    assert guess(password=PASSWORD, address="192.0.2.99") == 429


def test_by_default_an_account_takes_a_hundred_failures_an_hour_and_an_address_fewer(settings: Any) -> None:
    rates = settings.REST_FRAMEWORK["DEFAULT_THROTTLE_RATES"]
    assert rates["login_account"] == "100/hour"
    number, _, period = rates["login_address"].partition("/")
    assert (int(number) < 100, period) == (True, "hour")  # so no single address locks an account out


def test_failures_are_counted_of_an_address_for_all_accounts(api: Api, few: None) -> None:
    api.customer()
    assert [guess(f"u{n}@example.org") for n in range(8)] == [401] * 7 + [429]
    assert guess(password=PASSWORD) == 429
    assert guess(password=PASSWORD, address="192.0.2.2") == 200


def test_a_host_has_one_count_for_all_its_ipv6_addresses(api: Api, few: None) -> None:
    assert [guess(f"u{n}@example.org", address=f"2001:db8:0:1::{n:x}") for n in range(8)] == [401] * 7 + [429]
    assert guess(address="2001:db8:0:2::1") == 401


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("fe80::1%eth0", "fe80::/64"),
        ("unknown", "unknown"),
    ],
)
def test_what_is_counted_as_one_address(address: str, network: str) -> None:
    assert network_of(address) == network


@pytest.mark.parametrize(
    ("sent", "address"),
    [
        ("192.0.2.7:51000", "192.0.2.7"),
        ("[2001:db8::1]:443", "2001:db8::1"),
        ("x\nforged line", "unknown"),
        ("", "unknown"),
    ],
)
def test_an_address_is_read_however_a_proxy_writes_it(sent: str, address: str) -> None:
    assert throttles.address_of(RequestFactory().get("/", REMOTE_ADDR=sent)) == address


def test_a_login_that_is_refused_or_succeeds_takes_no_place(api: Api, few: None) -> None:
    api.customer()
    for _ in range(10):
        assert guess(password=PASSWORD) == 200
    assert [guess() for _ in range(10)].count(401) == 3
    assert guess("b@example.org") == guess("c@example.org") == 401  # of the seven, the refused ones took none


def test_parallel_guesses_are_no_more_than_the_limit(api: Api, few: None) -> None:
    def attempt(number: int) -> int:
        try:
            return guess()
        finally:
            connections.close_all()

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(attempt, range(24)))
    assert (answers.count(401), answers.count(429)) == (3, 21)


def test_a_limit_that_is_not_atomic_would_be_seen(api: Api, few: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "add", lambda *_, **__: True)
    assert [guess() for _ in range(5)] == [401] * 5


def test_a_count_is_found_in_few_queries(api: Api, django_assert_max_num_queries: Any) -> None:
    for _ in range(90):
        Slots("login_account", "somebody").take()
    with django_assert_max_num_queries(8):
        Slots("login_account", "somebody").take()


def test_failed_logins_are_logged_with_a_hash_of_the_name(
    api: Api, few: None, caplog: pytest.LogCaptureFixture
) -> None:
    api.customer()
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        for _ in range(4):
            guess("ANN@example.org")
    lines = [record.getMessage() for record in caplog.records if "login" in record.name]
    assert [line.split(":")[0] for line in lines] == ["login failed"] * 3 + ["login refused after too many failures"]
    assert "2 of the address, 2 of the account, 2 of both" in lines[1]
    key = Reservation.objects.get().key  # so that whoever may see reservations finds whose account it is
    assert all(key in line and "address 192.0.2.1;" in line and "ann" not in line.lower() for line in lines)


def test_a_login_that_succeeds_is_a_line_too(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        api.customer()
    [line] = [record.getMessage() for record in caplog.records if "failed_logins" in record.name]
    assert line.startswith(f"login succeeded: name {Reservation.objects.get().key}, address 127.0.0.1; ")


@pytest.mark.parametrize(
    ("password", "status"), [("x9" * 3 + "x", 400), ("a b  c é 🙂 zq", 201), ("x9" * 64, 201), ("x9" * 64 + "x", 400)]
)
def test_a_password_has_so_many_characters_of_any_kind_and_all_of_them_count(
    api: Api, password: str, status: int
) -> None:
    answer = api.post("users/", {"email": ANN, "name": "Ann", "password": password})
    assert answer.status == status, answer
    login = get_user_model()(username="staff")
    if status == 201:
        validate_password(password, login)
        assert [guess(password=password[:-1]), guess(password=password)] == [401, 200]
    else:
        with pytest.raises(ValidationError, match="characters"):
            validate_password(password, login)  # as the admin and `changepassword` do


def test_one_changes_ones_password_by_giving_the_old_one(api: Api, few: None) -> None:
    ann, path, body = api.customer(), "auth/change-password/", {"password": PASSWORD, "new_password": NEW}
    session = session_of(ann.user_id)
    for new in ("short", "ann@example.org", "1234567890123"):
        answer = ann.post(path, body | {"new_password": new})
        assert (answer.status, answer["errors"][0]["pointer"]) == (400, "/new_password")
    assert ann.post(path, {"new_password": NEW})["errors"][0]["pointer"] == "/password"
    assert [ann.post(path, body | {"password": "wrong wrong"}).status for _ in range(4)] == [401, 401, 401, 429]
    cache.clear()
    assert ann.post(path, body).status == 204
    assert (alive([ann]), session.get("/api/orders/").status_code) == ([False], 401)
    assert [guess(password=password) for password in (PASSWORD, NEW)] == [401, 200]


def test_of_two_logins_with_one_name_only_ones_own_changes(api: Api) -> None:
    api.customer(ANN)
    boss = get_user_model().objects.create_user(ANN, password=NEW, is_staff=True)
    token = AuthToken.objects.create(boss)[1]
    body = {"password": PASSWORD, "new_password": "yet another horse"}
    assert Api(token).post("auth/change-password/", body).status == 401
    assert [guess(password=password) for password in (PASSWORD, NEW)] == [200, 200]


def test_a_password_is_not_the_address_or_the_name(api: Api) -> None:
    body = {"email": "alexandra.long@example.org", "name": "Alexandra Longname"}
    for password in ("alexandra.long@example.org", "Alexandra.Long@Example.ORG", "alexandra longname"):
        answer = api.post("users/", body | {"password": password})
        assert (answer.status, answer["errors"][0]["pointer"]) == (400, "/password")
    ann = api.customer()
    login = get_user_model().objects.get(username=ann.user_id)
    with pytest.raises(ValidationError, match="The password is the e-mail address"):
        validate_password("Ann@Example.org", login)  # as the admin and `changepassword` do
    validate_password("Ann@Example.org", get_user_model()(username="other"))
    api.post("users/", body | {"password": PASSWORD})
    answer = ann.post(f"users/{ann.user_id}/change-email/", {"email": "x@example.org", "password": "X@Example.org"})
    assert (answer.status, answer["errors"][0]["pointer"]) == (400, "/email")


def test_to_change_ones_address_takes_the_password_and_is_counted(api: Api, few: None) -> None:
    ann, bob = api.customer(), api.customer("bob@example.org", "Bob")
    path, body = f"users/{ann.user_id}/change-email/", {"email": "bob@example.org", "password": PASSWORD}
    assert ann.post(path, {"email": "new@example.org"})["errors"][0]["pointer"] == "/password"
    assert ann.post(path, body | {"password": "wrong wrong"}).status == 401
    assert bob.post(path, body | {"email": "new@example.org"}).status == 404
    assert [ann.post(path, body).status for _ in range(3)] == [409, 409, 429]  # it tells that the address is taken
    assert api.staff.post(path, {"email": "new@example.org"}).status == 202
    assert api.staff.post(path, body | {"email": "other@example.org"})["errors"][0]["pointer"] == "/password"


def test_a_change_of_address_that_is_sent_again_is_not_counted_twice(api: Api, few: None) -> None:
    ann = api.customer()
    body = {"email": "new@example.org", "password": PASSWORD}
    answers = [ann.post(f"users/{ann.user_id}/change-email/", body, Idempotency_Key="k") for _ in range(5)]
    assert [answer.json for answer in answers] == [answers[0].json] * 5
    assert answers[0].status == 202


def tokens(api: Api, number: int) -> list[Api]:
    return [Api(api.post("auth/login/", {"username": ANN, "password": PASSWORD})["token"]) for _ in range(number)]


def alive(people: list[Api]) -> list[bool]:
    return [person.get("orders/").status == 200 for person in people]


def test_a_login_has_so_many_tokens_and_the_oldest_ends(api: Api, settings: Any) -> None:
    settings.TOKENS_PER_LOGIN = 3
    ann = api.customer()
    people = [ann, *tokens(api, 4)]
    assert alive(people) == [False, False, True, True, True]
    AuthToken.objects.update(expiry="2020-01-01T00:00:00Z")
    assert alive(tokens(api, 3)) == [True] * 3
    assert AuthToken.objects.count() == 3  # those that had expired are gone


def test_parallel_logins_have_no_more_tokens_together(api: Api, settings: Any) -> None:
    settings.TOKENS_PER_LOGIN = 2
    api.customer()

    def log_in(number: int) -> int:
        try:
            return guess(password=PASSWORD)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(6) as pool:
        assert set(pool.map(log_in, range(12))) == {200}
    assert AuthToken.objects.count() == 2


def by_the_admin(login: Any, root: Client) -> None:
    form = {"usable_password": "true", "password1": NEW, "password2": NEW}
    assert root.post(f"/admin/auth/user/{login.pk}/password/", form).status_code == 302


def by_the_admin_without_a_new_one(login: Any, root: Client) -> None:
    assert (
        root.post(
            f"/admin/auth/user/{login.pk}/password/", {"usable_password": "false", "unset-password": "1"}
        ).status_code
        == 302
    )


def by_the_command(login: Any, root: Client) -> None:
    with patch("getpass.getpass", return_value=NEW):
        call_command("changepassword", login.username, stdout=StringIO())


def by_hand(login: Any, root: Client) -> None:
    login.set_password(NEW)
    login.save(update_fields=["password"])


@pytest.mark.parametrize("door", [by_the_admin, by_the_admin_without_a_new_one, by_the_command, by_hand])
def test_tokens_and_sessions_end_with_the_password(api: Api, door: Any) -> None:
    ann, root, browser = api.customer(), Client(), Client()
    login = get_user_model().objects.get(username=ann.user_id)
    root.force_login(get_user_model().objects.create_superuser("root"))
    browser.force_login(login)
    credential = Credential(ann.user_id, is_staff=False, session=browser.session.session_key or "")
    assert browser.get("/api/orders/").status_code == 200
    assert valid({credential}) == {credential}
    door(login, root)
    assert alive([ann]) == [False]
    assert browser.get("/api/orders/").status_code == 401
    assert valid({credential}) == set()
    assert root.get("/api/orders/").status_code == 200  # nobody else's


def test_a_login_that_changes_otherwise_keeps_its_tokens(api: Api) -> None:
    ann = api.customer()
    login = get_user_model().objects.get(username=ann.user_id)
    login.first_name = "Ann"
    login.save()
    assert alive([ann]) == [True]


def test_a_password_that_changes_while_it_is_checked_gives_no_token(api: Api) -> None:
    ann = api.customer()
    checked = get_user_model().objects.get(username=ann.user_id)
    login = get_user_model().objects.get(username=ann.user_id)
    login.set_password(NEW)
    login.save()
    assert credentials.issue(checked) is None
    login.delete()
    assert credentials.issue(login) is None


def session_of(username: str) -> Client:
    browser = Client()
    browser.force_login(get_user_model().objects.get(username=username))
    return browser


def test_logging_out_ends_the_session_that_is_sent(api: Api) -> None:
    ann = api.customer()
    one, two = session_of(ann.user_id), session_of(ann.user_id)
    assert one.post("/api/auth/logout/").status_code == 204
    assert [browser.get("/api/orders/").status_code for browser in (one, two)] == [401, 200]
    assert alive([ann]) == [True]
    assert two.post("/api/auth/logout/", headers=ann.headers).status_code == 204  # it carries both
    assert two.get("/api/orders/").status_code == 401
    assert alive([ann]) == [False]


def test_logging_out_everywhere_ends_ones_sessions_and_nobody_elses(api: Api) -> None:
    ann, bob = api.customer(), api.customer("bob@example.org", "Bob")
    mine, other = [session_of(ann.user_id) for _ in range(2)], session_of(bob.user_id)
    assert ann.post("auth/logout-all/").status == 204
    assert [browser.get("/api/orders/").status_code for browser in (*mine, other)] == [401, 401, 200]
    assert alive([ann, bob]) == [False, True]
    assert Session.objects.count() == 1


def test_nothing_that_is_personal_or_opens_a_door_is_stored_on_the_way(api: Api) -> None:
    ann = api.customer()
    order, user = ann.place(), f"users/{ann.user_id}/"
    answers = [
        ann.get(path) for path in ("users/", user, f"{user}history/", f"{user}personal-data/", f"orders/{order}/")
    ]
    answers += [api.post("auth/login/", {"username": ANN, "password": PASSWORD}), api.staff.get("events/")]
    answers.append(ann.get(user, If_None_Match='"1"'))
    assert [answer.headers["Cache-Control"] for answer in answers] == ["no-store"] * len(answers)
