"""The admin: everything to see, nothing to forge, and actions that send commands."""

from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.contrib import admin
from django.contrib.auth import get_user_model
from django.test import Client
from django.urls import reverse

from apps.eventlog import store
from apps.eventlog.dispatch import dispatch
from apps.orders.events import OrderLine
from apps.orders.write.commands import PayOrder, PlaceOrder, ShipOrder
from apps.users.write.commands import DeactivateUser, RegisterUser
from tests.history import make_history

OURS = [model for model in admin.site._registry if model._meta.app_label in ("users", "orders", "eventlog")]


@pytest.fixture
def browser() -> Client:
    client = Client()
    client.force_login(get_user_model().objects.create_superuser("admin"))
    return client


def url(model: Any, page: str, *arguments: object) -> str:
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_{page}", args=arguments)


def customer_with_order() -> tuple[UUID, UUID]:
    ann, order = uuid4(), uuid4()
    dispatch(RegisterUser(ann, "ann@example.org", "Ann"))
    dispatch(PlaceOrder(order, ann, "EUR", (OrderLine("A-1", 2, Decimal("1.50")),)))
    return ann, order


@pytest.mark.parametrize("model", OURS)
def test_every_list_and_page_opens_and_nothing_can_be_changed(browser: Client, model: Any) -> None:
    make_history(users=3, commands=20)
    head = store.head()
    assert browser.get(url(model, "changelist")).status_code == 200
    assert browser.get(url(model, "add")).status_code == browser.post(url(model, "add"), {}).status_code == 403
    row = model._default_manager.first()
    if row is not None:
        assert browser.get(url(model, "change", row.pk)).status_code == 200
        assert browser.post(url(model, "change", row.pk), {"name": "forged"}).status_code == 403
        assert browser.post(url(model, "delete", row.pk), {"post": "yes"}).status_code == 403
        action = {"action": "delete_selected", "_selected_action": [row.pk], "post": "yes"}
        browser.post(url(model, "changelist"), action)
        assert model._default_manager.filter(pk=row.pk).exists()
    assert store.head() == head


def test_an_event_shows_its_neighbours_and_what_its_request_caused(browser: Client) -> None:
    ann, order = customer_with_order()
    dispatch(DeactivateUser(ann, "left"))
    placed, cancelled = store.find(stream=f"order-{order}")
    page = browser.get(url(type(cancelled), "change", cancelled.pk)).content.decode()
    assert "Everything this request caused" in page
    assert page.index("users.UserDeactivated") < page.index("orders.OrderCancelled</b>")
    assert url(type(placed), "change", placed.pk) in page
    assert "the customer was deactivated" in page


def test_orders_are_cancelled_with_a_reason_and_refusals_are_told(browser: Client) -> None:
    ann, placed = customer_with_order()
    shipped = uuid4()
    dispatch(PlaceOrder(shipped, ann, "EUR", (OrderLine("A-1", 1, Decimal("1.00")),)))
    dispatch(PayOrder(shipped, "p"))
    dispatch(ShipOrder(shipped, "t"))
    chosen = {"action": "cancel", "_selected_action": [str(placed), str(shipped)]}
    asked = browser.post("/admin/orders/order/", chosen)
    assert b'name="reason"' in asked.content
    done = browser.post("/admin/orders/order/", chosen | {"reason": "a test"}, follow=True).content.decode()
    assert "Cancel: 1 of 2 done" in done
    assert "refused, only a placed or paid order can be cancelled" in done
    *_, event = store.read_stream(f"order-{placed}")
    assert (event.data, event.metadata["actor"]) == ({"reason": "a test", "cause": "requested"}, "admin")


def test_users_are_deactivated_with_a_reason(browser: Client) -> None:
    ann, _ = customer_with_order()
    chosen = {"action": "deactivate", "_selected_action": [str(ann)], "reason": "a test"}
    assert "Deactivate: 1 of 1 done" in browser.post("/admin/users/user/", chosen, follow=True).content.decode()


def test_the_page_is_live_for_staff_and_plain_for_others(browser: Client, settings: Any) -> None:
    live = browser.get("/")
    assert b"eventlog/live.js" in live.content
    assert "script-src 'self'" in live.headers["Content-Security-Policy"]
    assert b"live.js" not in Client().get("/").content
    assert Client().post("/demo-login/").status_code == 404
    settings.DEBUG = True
    assert Client().post("/demo-login/").status_code == 404  # no admin with that password here


def test_the_status_says_how_far_each_projector_is(browser: Client) -> None:
    make_history(users=2, commands=10)
    status = browser.get("/api/events/status/", headers={"Accept": "application/json"}).json()
    assert status["head"] == store.head()
    names = ["CustomerProjector", "OrderProjector", "SummaryProjector", "UserProjector"]
    assert sorted(each["name"] for each in status["projectors"]) == names
    assert [(each["lag"], each["dead_letters"]) for each in status["projectors"]] == [(0, 0)] * 4
