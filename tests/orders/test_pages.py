"""The page of orders: for customers their own, for staff by what they may."""

from typing import Any
from uuid import uuid4

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.test import Client

from apps.eventlog.dispatch import dispatch
from apps.eventlog.reactors import foreseen
from apps.users.events import UserDeactivated, UserErased, UserRegistered
from apps.users.write.commands import DeactivateUser, RegisterUser
from tests.support.api import Api


def session(*permissions: str, **login: Any) -> Client:
    user = get_user_model().objects.create(**{"username": f"staff-{uuid4()}", "is_staff": True} | login)
    names = [each.partition(".")[2] for each in permissions]
    user.user_permissions.set(Permission.objects.filter(codename__in=names))
    client = Client()
    client.force_login(user)
    return client


@pytest.mark.parametrize(
    ("permissions", "seen"),
    [
        ((), (False, False, False)),
        (("orders.view_customer",), (False, False, False)),
        (("orders.change_order",), (False, False, False)),  # they type an id
        (("orders.change_order", "orders.view_customer"), (True, False, False)),
        (("orders.view_order",), (False, True, False)),
        (("orders.change_order", "orders.view_order", "eventlog.view_storedevent"), (False, True, True)),
    ],
)
def test_staff_see_what_they_may(permissions: tuple[str, ...], seen: tuple[bool, bool, bool]) -> None:
    ann, bob = uuid4(), uuid4()
    dispatch(RegisterUser(ann, "ann@example.org", "Ann</option><script>alert(1)</script>"))
    dispatch(RegisterUser(bob, "bob@example.org", "Bob"))
    dispatch(DeactivateUser(bob, "left"))
    page = session(*permissions).get("/orders/").content.decode()
    assert (str(ann) in page, 'id="list"' in page, "data-stream" in page) == seen
    assert "<script>alert" not in page
    assert str(bob) not in page  # who may not order


def test_a_login_that_is_nobody_sees_a_page_without_rows() -> None:
    client = session(username="neither", is_staff=False)
    assert client.get("/orders/").status_code == 200
    assert client.get("/api/orders/").status_code == 403


def test_what_will_follow_is_foreseen_by_the_reactors(api: Api) -> None:
    ann = api.customer()
    assert "No unpaid order is cancelled." in foreseen(UserDeactivated, [ann.user_id])  # type: ignore[list-item]
    for _ in range(2):
        ann.place()
    [cancelled, login] = foreseen(UserDeactivated, [ann.user_id])  # type: ignore[list-item]
    assert cancelled == "2 unpaid orders will be cancelled."
    assert "login is closed" in login
    assert any("Nobody can undo this." in each for each in foreseen(UserErased, [uuid4()]))
    assert foreseen(UserRegistered, [uuid4()]) == []
