"""One namespace of login names: the address of a user and the name of a login are never the same."""

from typing import Any
from uuid import UUID, uuid4

import pytest
from django.contrib.auth import get_user_model
from django.core.management import CommandError, call_command
from django.db import connections
from django.test import Client

from apps.eventlog.dispatch import dispatch
from apps.eventlog.reservations import Reserved
from apps.users.write.commands import ChangeEmail, RegisterUser
from tests.support.api import PASSWORD, Api

BOSS = "boss@example.com"
STAFF_PASSWORD = "boss horse battery"
EMAILS = [BOSS, "Boss@example.com", "BOSS@EXAMPLE.COM"]


def login(api: Api, name: str, password: str = PASSWORD) -> int:
    return api.post("auth/login/", {"username": name, "password": password}).status


@pytest.fixture
def boss() -> Any:
    return get_user_model().objects.create_superuser(BOSS, password=STAFF_PASSWORD)


@pytest.mark.parametrize("email", EMAILS)
def test_nobody_takes_the_name_of_a_login_as_address(api: Api, boss: Any, email: str) -> None:
    ann = api.customer()
    registered = api.post("users/", {"email": email, "name": "X", "password": PASSWORD})
    changed = ann.post(f"users/{ann.user_id}/change-email/", {"email": email, "password": PASSWORD})
    by_staff = api.staff.post(f"users/{ann.user_id}/change-email/", {"email": email})
    for answer in (registered, changed, by_staff):
        assert (answer.status, answer["errors"][0]["pointer"]) == (409, "/email")
    for command in (RegisterUser(uuid4(), email, "X"), ChangeEmail(UUID(ann.user_id), email)):
        with pytest.raises(Reserved):
            dispatch(command)
    assert login(api, BOSS, STAFF_PASSWORD) == 200
    assert get_user_model().objects.filter(is_staff=False).count() == 1  # no login is left of who was refused


def test_no_login_is_made_with_the_address_of_a_user(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    api.customer(BOSS)
    monkeypatch.setenv("DJANGO_SUPERUSER_PASSWORD", STAFF_PASSWORD)
    for name in EMAILS:
        with pytest.raises(CommandError, match="an active user has this e-mail address"):
            call_command("createsuperuser", "--noinput", username=name, email="", verbosity=0)
    assert get_user_model().objects.count() == 1
    assert login(api, BOSS) == 200


def test_the_forms_of_the_admin_name_the_field(api: Api, boss: Any) -> None:
    ann, browser = "ann@example.org", Client()
    api.customer(ann)
    browser.force_login(boss)
    new = {"username": ann, "password1": STAFF_PASSWORD, "password2": STAFF_PASSWORD, "usable_password": "true"}
    rename = {"username": ann, "date_joined_0": "2026-01-01", "date_joined_1": "00:00:00", "is_active": "on"}
    for where, form in (("add/", new), (f"{boss.pk}/change/", rename)):
        page = browser.post(f"/admin/auth/user/{where}", form)
        assert page.context["adminform"].form.errors == {"username": ["an active user has this e-mail address"]}
    assert browser.post(f"/admin/auth/user/{boss.pk}/change/", rename | {"username": "boss"}).status_code == 302


def test_an_address_that_is_given_back_can_be_a_login_and_then_does_not_come_back(api: Api) -> None:
    ann, staff = api.customer(BOSS), api.staff
    staff.post(f"users/{ann.user_id}/deactivate/", {"reason": "left"})
    boss = get_user_model().objects.create_superuser(BOSS, password=STAFF_PASSWORD)
    assert staff.post(f"users/{ann.user_id}/reactivate/").status == 409
    boss.delete()
    assert staff.post(f"users/{ann.user_id}/reactivate/").status == 202


def test_two_who_have_one_name_all_the_same_both_log_in(api: Api) -> None:
    """As after a race between the two databases, by a shell, or in an installation from before the rule."""
    ann = api.customer(BOSS)
    get_user_model().objects.create_user(BOSS, password=STAFF_PASSWORD, is_staff=True)
    for password, username in ((PASSWORD, ann.user_id), (STAFF_PASSWORD, BOSS)):
        token = api.post("auth/login/", {"username": BOSS, "password": password})["token"]
        seen = Api(token).get("users/")
        assert (seen.status, username) in ((200, ann.user_id), (403, BOSS))
    assert login(api, BOSS, "neither") == 401


def test_names_with_an_at_are_found_by_an_index(api: Api) -> None:
    connection = connections["default"]
    with connection.cursor() as cursor:
        assert "auth_user_with_at" in connection.introspection.get_constraints(cursor, "auth_user")
