"""Events that this code cannot read stop their own stream: it answers 503 with the reason, and never a stale 200."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.auth import get_user_model
from django.test import Client

from apps.eventlog import projectors, store
from apps.eventlog.delivery import projecting, retry
from apps.eventlog.log.engine import engine
from apps.eventlog.log.records import Row
from apps.eventlog.projectors import Projector
from apps.orders.events import OrderPaid
from apps.orders.models import Order
from apps.orders.read.projectors import OrderProjector
from tests.support.api import Answer, Api

Add = Callable[..., int]


@pytest.fixture
def add() -> Add:
    """Write one event at the end of a stream, as other code has recorded it; returns its position.

    It enters by no door: `append` and imports refuse what does not fit its class.
    """

    def write(stream: str, type: str, data: dict[str, Any], schema_version: int = 1) -> int:
        last, position = store.last(stream), store.head() + 1
        version, now = last.stream_version + 1 if last else 1, datetime.now(UTC)
        text = json.dumps(data).encode()
        with store.unit():
            engine().write([Row(position, uuid4(), stream, version, type, schema_version, text, b"{}", None, now)])
            engine().continue_after(position)
        for service in projectors.services():
            projecting.catch_up(service)
        return position

    return write


def out_of_date(answer: Answer) -> None:
    assert (answer.status, answer.headers.get("Retry-After")) == (503, "30"), answer
    assert "is set aside" in answer["detail"]


UNKNOWN = [
    ("orders.OrderShipped", {"tracking_number": "t"}, 7, "has version 7, this code knows up to 1"),
    ("orders.OrderReturned", {"why": "too small"}, 1, "is not an event of this code"),
    ("orders.OrderPaid", {"reference": "p"}, 1, "does not fit its class"),
    ("orders.OrderCancelled", {"because": "of rain"}, 1, "does not fit its class"),  # its upcaster fails
    ("users.UserReactivated", {}, 1, "is no event of order"),
]


@pytest.mark.parametrize(("type", "data", "version", "reason"), UNKNOWN)
def test_commands_and_the_past_say_why_they_cannot_read_a_stream(
    api: Api, add: Add, type: str, data: dict[str, Any], version: int, reason: str
) -> None:
    ann, bob = api.customer(), api.customer("bob@example.org", "Bob")
    order, other = ann.place(), ann.place()
    path, pay = f"orders/{order}/", {"payment_reference": "p"}
    position = add(f"order-{order}", type, data, version)
    past = [ann.get(f"{path}?version=2"), ann.get(f"{path}?at=2027-01-01T00:00:00Z")]
    past *= type != "users.UserReactivated"  # a projector passes over what it does not take
    for answer in [ann.post(f"{path}pay/", pay), api.staff.post(f"{path}cancel/", {"reason": "r"}), *past]:
        assert answer.status == 503, answer
        assert f"position {position}" in answer["detail"]
        assert reason in answer["detail"]
        assert int(answer.headers["Retry-After"]) > 0
    assert bob.post(f"{path}pay/", pay).status == bob.get(f"{path}history/").status == 404
    assert ann.get(f"{path}?version=1")["status"] == "placed"
    assert [event["type"] for event in ann.get(f"{path}history/")["results"]] == ["orders.OrderPlaced", type]
    assert ann.post(f"orders/{other}/pay/", pay).status == 202


def test_a_stream_that_begins_with_such_an_event_is_there_for_staff(api: Api, add: Add) -> None:
    ann, staff, order = api.customer(), api.staff, uuid4()
    position = add(f"order-{order}", "orders.OrderPlaced", {"buyer": ann.user_id}, 5)
    path, wait = f"orders/{order}/", {"Min_Event_Position": str(position)}
    assert staff.get(path).status == ann.get(path, **wait).status == ann.get(f"{path}history/").status == 404
    assert staff.post(f"{path}deliver/").status == staff.get(f"{path}?version=1").status == 503
    assert len(staff.get(f"{path}history/", **wait)["results"]) == 1
    out_of_date(staff.get(path, **wait))
    out_of_date(staff.get("orders/", **wait))
    assert ann.get("orders/", **wait).status == 200
    assert staff.get(f"orders/?customer={ann.user_id}", **wait).status == 200


def test_a_query_as_of_a_position_never_shows_a_row_that_is_older(api: Api, add: Add) -> None:
    ann, bob, staff = api.customer(), api.customer("bob@example.org", "Bob"), api.staff
    stuck, other, last = ann.place(), bob.place(), bob.place()
    before = {"Min_Event_Position": str(store.head())}
    now = {"Min_Event_Position": str(add(f"order-{stuck}", "orders.OrderReturned", {}))}
    for sender, path in ((ann, f"orders/{stuck}/"), (ann, "orders/"), (staff, "orders/"), (staff, "orders/summary/")):
        out_of_date(sender.get(path, **now))
        assert sender.get(path, **before).status == sender.get(path).status == 200
    out_of_date(staff.get(f"orders/?customer={ann.user_id}", **now))
    fresh = [(bob, f"orders/{other}/"), (bob, "orders/"), (staff, f"orders/?customer={bob.user_id}"), (staff, "users/")]
    fresh += [(staff, "orders/?limit=2"), (staff, "orders/?status=paid"), (ann, f"orders/{stuck}/history/")]
    for sender, path in fresh:
        assert sender.get(path, **now).status == 200, path
    assert [document["id"] for document in staff.get("orders/?limit=2", **now)["results"]] == [last, other]
    retry.skip(OrderProjector, store.head(), by="ann", reason="handled by hand")
    assert ann.get(f"orders/{stuck}/", **now).status == 200


def test_a_fact_of_another_stream_makes_its_documents_wait_too(api: Api, add: Add) -> None:
    ann, bob, staff = api.customer(), api.customer("bob@example.org", "Bob"), api.staff
    order, other = ann.place(), bob.place()
    now = {"Min_Event_Position": str(add(f"user-{ann.user_id}", "users.UserMoved", {"to": "Oslo"}))}
    for sender, path in ((ann, f"orders/{order}/"), (staff, "orders/"), (ann, f"users/{ann.user_id}/")):
        out_of_date(sender.get(path, **now))
    for sender, path in ((bob, f"orders/{other}/"), (bob, "orders/"), (staff, "orders/summary/")):
        assert sender.get(path, **now).status == 200, path
    out_of_date(ann.get(f"users/{ann.user_id}/personal-data/", **now))


def test_a_row_that_its_projector_could_not_write_is_missed(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    ann, bob, staff = api.customer(), api.customer("bob@example.org", "Bob"), api.staff
    bob.place()

    def placed(self: Projector, row: Order, *more: Any) -> None:
        raise ZeroDivisionError("a fault of ours")

    monkeypatch.setattr(OrderProjector, "placed", placed)
    order = ann.place()
    now = {"Min_Event_Position": str(store.head())}
    for sender, path in ((ann, f"orders/{order}/"), (ann, "orders/"), (staff, "orders/")):
        out_of_date(sender.get(path, **now))
    assert ann.get(f"orders/{order}/").status == bob.get(f"orders/{order}/", **now).status == 404
    assert bob.get("orders/", **now).status == 200
    monkeypatch.undo()
    assert retry.retry(OrderProjector, f"order-{order}", by="ann") == (1, "")
    assert len(ann.get("orders/", **now)["results"]) == 1


def test_the_admin_refuses_a_command_with_the_reason(api: Api, add: Add) -> None:
    order = api.customer().place()
    store.append(f"order-{order}", [OrderPaid("p")], expected_version=1)
    add(f"order-{order}", "orders.OrderReturned", {})
    client = Client()
    client.force_login(get_user_model().objects.create_superuser("admin"))
    body = {"action": "cancel", "_selected_action": [order], "reason": "r"}
    page = client.post("/admin/orders/order/", body, follow=True).content.decode()
    assert "Cancel: 0 of 1 done" in page
    assert "orders.OrderReturned at position" in page
