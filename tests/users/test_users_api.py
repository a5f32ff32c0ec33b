"""Users over HTTP: registering, logging in and out, and who may."""

from types import SimpleNamespace
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.hashers import MD5PasswordHasher
from knox.models import AuthToken

from apps.eventlog import store
from apps.eventlog.api import throttles
from tests.support.api import PASSWORD, Answer, Api

ANN = {"email": "ann@example.org", "name": "Ann", "password": PASSWORD}


@pytest.fixture(autouse=True)
def one_window(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tries are counted a minute or an hour: none of these tests is to span two."""
    monkeypatch.setattr(throttles, "time", SimpleNamespace(time=lambda: 1_000_000_000.0))


def pointers(answer: Answer) -> list[str]:
    assert answer.status == 400, answer
    return [error["pointer"] for error in answer["errors"]]


def test_anyone_registers_and_sees_themselves(api: Api) -> None:
    ann = api.customer()
    document = ann.get(f"users/{ann.user_id}/")
    assert document.headers["ETag"] == '"1"'
    assert set(document.json) == {"id", "version", "email", "name", "status", "registered_at", "updated_at"}
    assert (document["email"], document["name"], document["status"]) == ("ann@example.org", "Ann", "active")
    assert [user["id"] for user in ann.get("users/")["results"]] == [ann.user_id]


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"email": "nobody"}, "/email"),
        ({"email": None}, "/email"),
        ({"name": ""}, "/name"),
        ({"name": "x" * 201}, "/name"),
        ({"name": ["Ann"]}, "/name"),
        ({"password": "short"}, "/password"),
        ({"password": "password123"}, "/password"),
        ({"is_staff": True}, "/is_staff"),
        ({"status": "inactive"}, "/status"),
        ({"position": 1}, "/position"),
    ],
)
def test_a_bad_field_is_named(api: Api, change: dict[str, object], pointer: str) -> None:
    assert pointer in pointers(api.post("users/", ANN | change))
    assert (store.head(), get_user_model().objects.count()) == (0, 0)


def test_a_taken_address_is_a_conflict_and_leaves_no_login_behind(api: Api) -> None:
    api.post("users/", ANN)
    answer = api.post("users/", ANN | {"email": "ANN@example.org"})
    assert (answer.status, answer["errors"][0]["pointer"]) == (409, "/email")
    assert get_user_model().objects.count() == 1


def test_a_repeated_registration_is_one_user_and_one_login(api: Api) -> None:
    first = api.post("users/", ANN, Idempotency_Key="k")
    again = api.post("users/", ANN, Idempotency_Key="k")
    assert (again.status, again.json) == (201, first.json)
    assert (store.head(), get_user_model().objects.count()) == (1, 1)


def test_only_staff_register_without_a_password(api: Api) -> None:
    body = {"email": "ann@example.org", "name": "Ann"}
    assert pointers(api.post("users/", body)) == ["/password"]
    assert api.staff.post("users/", body).status == 201
    assert api.post("auth/login/", {"username": "ann@example.org", "password": ""}).status == 400


def test_commands_on_oneself(api: Api) -> None:
    ann = api.customer()
    user = f"users/{ann.user_id}/"
    assert ann.post(f"{user}rename/", {"name": "Anna"}).status == 202
    assert ann.post(f"{user}change-email/", {"email": "anna@example.org", "password": PASSWORD})["version"] == 3
    document = ann.get(user)
    assert (document["name"], document["email"], document["version"]) == ("Anna", "anna@example.org", 3)
    assert api.post("auth/login/", {"username": "anna@example.org", "password": PASSWORD}).status == 200
    assert api.post("auth/login/", {"username": "ann@example.org", "password": PASSWORD}).status == 401
    assert len(ann.get(f"{user}history/")["results"]) == 3


def test_a_deactivated_user_is_locked_out_until_reactivated(api: Api) -> None:
    ann, staff = api.customer(), api.staff
    login = {"username": "ann@example.org", "password": PASSWORD}
    assert staff.post(f"users/{ann.user_id}/deactivate/", {"reason": "left"}).status == 202
    assert ann.get("orders/").status == api.post("auth/login/", login).status == 401
    assert staff.get(f"users/{ann.user_id}/")["status"] == "inactive"
    assert staff.post(f"users/{ann.user_id}/reactivate/").status == 202
    assert api.post("auth/login/", login).status == 200


def test_what_is_anothers_is_not_found(api: Api) -> None:
    ann, bob = api.customer(), api.customer("bob@example.org", "Bob")
    user = f"users/{ann.user_id}/"
    commands = {"rename": {"name": "X"}, "change-email": {"email": "x@example.org"}, "deactivate": {"reason": "r"}}
    answers = [bob.post(f"{user}{name}/", body) for name, body in (commands | {"reactivate": {}}).items()]
    assert [answer.status for answer in [*answers, bob.get(user), bob.get(f"{user}history/")]] == [404] * 6


def test_login_answers_a_token_that_expires(api: Api) -> None:
    api.post("users/", ANN)
    answer = api.post("auth/login/", {"username": "Ann@Example.org", "password": PASSWORD})
    assert set(answer.json) == {"token", "expires_at"}
    assert answer["token"] not in str(list(AuthToken.objects.values()))
    assert Api(answer["token"]).get("orders/").status == 200
    AuthToken.objects.update(expiry="2020-01-01T00:00:00Z")
    assert Api(answer["token"]).get("orders/").status == 401


def test_logging_out_ends_one_token_or_all(api: Api) -> None:
    api.post("users/", ANN)
    one, two, three = (
        Api(api.post("auth/login/", {"username": ANN["email"], "password": PASSWORD})["token"]) for _ in range(3)
    )
    assert one.post("auth/logout/").status == 204
    assert [person.get("orders/").status for person in (one, two, three)] == [401, 200, 200]
    assert two.post("auth/logout-all/").status == 204
    assert [person.get("orders/").status for person in (two, three)] == [401, 401]


def test_unknown_user_and_wrong_password_look_the_same(api: Api) -> None:
    api.post("users/", ANN)
    wrong = api.post("auth/login/", {"username": ANN["email"], "password": "wrong wrong"})
    unknown = api.post("auth/login/", {"username": "nobody@example.org", "password": "wrong wrong"})
    assert (wrong.status, wrong.json) == (unknown.status, unknown.json) == (401, wrong.json)


class Counting(MD5PasswordHasher):
    """Counts how often a password is hashed, which is all that takes time in a login."""

    algorithm, hashed = "counting", 0

    def encode(self, password: str, salt: str) -> str:
        Counting.hashed += 1
        return super().encode(password, salt)


@pytest.fixture
def counting_hasher(settings: Any) -> None:
    settings.PASSWORD_HASHERS = [f"{__name__}.Counting"]


def test_whoever_cannot_log_in_is_refused_at_the_same_cost(api: Api, counting_hasher: None) -> None:
    staff = api.staff
    api.post("users/", ANN)
    staff.post("users/", {"email": "no-password@example.org", "name": "Bob"})
    gone = staff.post("users/", ANN | {"email": "gone@example.org"})["id"]
    staff.post(f"users/{gone}/deactivate/", {"reason": "left"})
    costs = {}
    for name in [ANN["email"], "nobody@example.org", "no-password@example.org", "gone@example.org", gone, "admin"]:
        before = Counting.hashed
        assert api.post("auth/login/", {"username": name, "password": "wrong wrong"}).status == 401
        costs[name] = Counting.hashed - before
    assert set(costs.values()) == {1}


def test_failed_logins_are_counted_by_account_and_address(api: Api) -> None:
    api.post("users/", ANN)
    login = {"username": ANN["email"], "password": PASSWORD}
    for _ in range(12):
        assert api.post("auth/login/", login).status == 200
    failures = [api.post("auth/login/", login | {"password": "wrong"}) for _ in range(11)]
    assert [answer.status for answer in failures] == [401] * 10 + [429]
    assert int(failures[-1].headers["Retry-After"]) <= 60
    assert api.post("auth/login/", login | {"username": "other@example.org"}).status == 401


def test_registrations_are_counted_by_address_but_not_those_by_staff(api: Api) -> None:
    answers = [api.post("users/", ANN | {"email": f"u{number}@example.org"}).status for number in range(21)]
    assert answers == [201] * 20 + [429]
    assert api.staff.post("users/", ANN).status == 201


def test_no_password_or_token_is_in_the_log(api: Api) -> None:
    ann = api.customer()
    ann.place()
    dump = str([recorded.document() for recorded in store.read_all()])
    assert PASSWORD not in dump
    assert ann.headers["Authorization"].split()[1] not in dump
    assert get_user_model().objects.get().password not in dump


def test_a_refused_registration_takes_none_of_the_few_an_hour(api: Api) -> None:
    for _ in range(25):
        assert api.post("users/", ANN | {"email": "nobody"}).status == 400
    first = api.post("users/", ANN, Idempotency_Key="k")
    answers = [api.post("users/", ANN, Idempotency_Key="k").json for _ in range(25)]
    assert answers == [first.json] * 25


def test_guesses_at_the_admins_login_are_counted_with_those_at_the_apis(api: Api) -> None:
    staff = api.staff
    page = {"username": "admin", "password": "wrong", "next": "/admin/"}
    for number in range(10):
        if number % 2:
            assert staff.client.post("/admin/login/", page).status_code == 200
        else:
            assert api.post("auth/login/", {"username": "admin", "password": "wrong"}).status == 401
    assert api.post("auth/login/", {"username": "admin", "password": PASSWORD}).status == 429
    assert staff.client.post("/admin/login/", page | {"password": PASSWORD}).status_code == 200


def test_an_account_has_one_count_whatever_it_is_called_by(api: Api) -> None:
    ann = api.customer()
    for name in [ann.user_id, "ANN@example.org", " ann@example.org", "ann@example.org."] * 3:
        api.post("auth/login/", {"username": name, "password": "wrong"})
    assert api.post("auth/login/", {"username": ANN["email"], "password": PASSWORD}).status == 429
