"""Endpoints of webhooks over the API: what is taken, what is refused and how, and what is shown."""

from typing import Any
from uuid import uuid4

import pytest
from django.core.management import call_command
from django.utils import timezone

from apps.eventlog import store
from apps.eventlog.relay.webhooks import endpoints
from apps.eventlog.relay.webhooks.models import Delivery, Endpoint
from tests.eventlog.events import Counted
from tests.support.api import Api

URL = "https://192.0.9.1/hook"  # a public address, so that no name is looked up


def make(api: Api, **fields: Any) -> Any:
    return api.staff.post("webhooks/", {"url": URL} | fields)


def test_an_endpoint_is_made_and_listed_and_its_secret_is_shown_once(api: Api) -> None:
    store.append("counter-1", [Counted()], expected_version=0)
    made = make(api, event_types=["orders.OrderPlaced", "orders.OrderPlaced"], active=False)
    assert (made.status, made["secret"][:6], set(made.json)) == (201, "whsec_", {"id", "secret"})
    assert made.headers["Location"].endswith(f"/api/webhooks/{made['id']}/")
    assert made.headers["Cache-Control"] == "no-store"
    [listed] = api.staff.get("webhooks/")["results"]
    assert listed == api.staff.get(f"webhooks/{made['id']}/").json == api.staff.get("events/status/")["webhooks"][0]
    expected = {"id": made["id"], "url": URL, "event_types": ["orders.OrderPlaced"], "active": False, "position": 1}
    expected |= {"lag_events": 0, "lag_seconds": 0.0, "failing_since": None, "last_error": ""}
    assert listed == expected | {"dead_letters": 0, "log_went_back": False}
    assert "secret" not in str(listed)


def test_the_list_comes_in_pages_that_share_the_counting(api: Api, django_assert_max_num_queries: Any) -> None:
    for number in range(5):
        endpoints.create(f"{URL}/{number}", ["orders.OrderPlaced"] * (number % 2))
    store.append("counter-1", [Counted()] * 3, expected_version=0)
    assert [each["url"][-1] for each in api.staff.pages("webhooks/?limit=2")] == list("01234")
    assert [each["lag_events"] for each in api.staff.get("webhooks/")["results"]] == [3, 0, 3, 0, 3]
    staff = api.staff
    with django_assert_max_num_queries(6, using="eventlog"):
        staff.get("webhooks/")


REFUSED = {
    "no URL": ({"url": None}, "/url"),
    "no such scheme": ({"url": "ftp://example.org/"}, "/url"),
    "http": ({"url": "http://192.0.9.1/"}, "/url"),
    "this machine": ({"url": "https://127.0.0.1/"}, "/url"),
    "this machine by its name": ({"url": "https://localhost/"}, "/url"),
    "cloud metadata": ({"url": "https://169.254.169.254/latest/meta-data/"}, "/url"),
    "a name and a password": ({"url": "https://ann:secret@192.0.9.1/"}, "/url"),
    "a fragment": ({"url": "https://192.0.9.1/#x"}, "/url"),
    "another's port": ({"url": "https://192.0.9.1:25/"}, "/url"),
    "no port": ({"url": "https://192.0.9.1:99999/"}, "/url"),
    "too long": ({"url": f"https://192.0.9.1/{'x' * 2000}"}, "/url"),
    "another type": ({"event_types": ["orders.OrderPlaced", "orders.OrderEaten"]}, "/event_types/1"),
    "types that are no list": ({"event_types": "orders.OrderPlaced"}, "/event_types"),
    "a type that is no text": ({"event_types": [7]}, "/event_types/0"),
    "a number for a switch": ({"active": 1}, "/active"),
    "a secret of one's own": ({"secret": "whsec_x"}, "/secret"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_is_refused_by_name(api: Api, name: str) -> None:
    fields, pointer = REFUSED[name]
    answer = make(api, **fields)
    assert (answer.status, answer.headers["Content-Type"]) == (400, "application/problem+json"), answer
    assert [error["pointer"] for error in answer["errors"]] == [pointer]
    assert not Endpoint.objects.exists()


def test_an_unknown_event_type_is_named(api: Api) -> None:
    [error] = make(api, event_types=["orders.OrderEaten"])["errors"]
    assert "'orders.OrderEaten'" in error["detail"]


def test_private_addresses_are_taken_if_the_operator_says_so(api: Api, settings: Any) -> None:
    settings.WEBHOOKS_PRIVATE = True
    assert make(api, url="http://127.0.0.1:8099/hook").status == 201


def test_an_endpoint_is_changed_and_deleted(api: Api) -> None:
    id, staff = make(api)["id"], api.staff
    assert staff.post(f"webhooks/{id}/change/", {"active": False, "url": f"{URL}/2"}).json == {"id": id}
    found = staff.get(f"webhooks/{id}/").json
    assert (found["active"], found["url"], found["event_types"]) == (False, f"{URL}/2", [])
    assert staff.post(f"webhooks/{id}/change/", {"url": "https://10.0.0.1/"}).status == 400
    assert staff.post(f"webhooks/{id}/change/", {"position": 5}).status == 400
    secrets = {staff.post(f"webhooks/{id}/rotate-secret/")["secret"] for _ in range(2)}
    assert len(secrets) == 2
    assert staff.post(f"webhooks/{id}/delete/").status == 204
    for path in ("change", "delete", "rotate-secret", "send-again"):
        assert staff.post(f"webhooks/{id}/{path}/").status == 404
    assert staff.get(f"webhooks/{id}/").status == 404


def test_what_was_not_taken_is_shown_sent_again_and_skipped(api: Api) -> None:
    id, staff, event_id = make(api)["id"], api.staff, uuid4()
    described = {"stream": "order-1", "stream_version": 3, "position": 7, "type": "orders.OrderPaid"}
    Delivery.objects.create(
        endpoint_id=id, event_id=event_id, recorded_at=timezone.now(), status=Delivery.Status.SET_ASIDE,
        attempts=11, answer=500, error="the answer was 500", **described,
    )  # fmt: skip
    [shown] = staff.get(f"webhooks/{id}/deliveries/")["results"]
    assert shown | described | {"event_id": str(event_id), "status": "set aside", "answer": 500} == shown
    assert staff.get(f"webhooks/{id}/")["dead_letters"] == 1
    assert staff.post(f"webhooks/{id}/send-again/", {"stream": "order-2"})["deliveries"] == 0
    assert staff.post(f"webhooks/{id}/send-again/", {"stream": "order-1"})["deliveries"] == 1
    assert staff.get(f"webhooks/{id}/deliveries/")["results"][0]["status"] == "pending"
    reason = {"stream": "order-1", "reason": "their order was deleted"}
    assert staff.post(f"webhooks/{id}/skip/", reason | {"position": 8}).status == 400
    assert staff.post(f"webhooks/{id}/skip/", reason | {"position": 7})["deliveries"] == 1
    assert staff.post(f"webhooks/{id}/skip/", {"stream": "order-1", "position": 7}).status == 400
    row = Delivery.objects.get()
    assert row.status == Delivery.Status.SKIPPING
    assert [(act["act"], act["by"]) for act in row.acts] == [("send again", "admin"), ("skip", "admin")]


def test_a_place_that_the_log_does_not_have_is_refused(api: Api) -> None:
    store.append("counter-1", [Counted()] * 3, expected_version=0)
    id, staff = make(api)["id"], api.staff
    assert staff.post(f"webhooks/{id}/send-from/", {"after": 4}).status == 400
    assert staff.post(f"webhooks/{id}/send-from/", {"after": 1})["position"] == 1
    assert staff.get(f"webhooks/{id}/")["lag_events"] == 2


def test_deliveries_that_were_settled_long_ago_are_cleared(api: Api) -> None:
    id = make(api)["id"]
    described = {"stream_version": 3, "type": "x", "recorded_at": timezone.now(), "endpoint_id": id, "position": 7}
    for name, age in (("old", endpoints.KEPT), ("open", None), ("new", endpoints.KEPT / 2)):
        settled = age and timezone.now() - age
        status = Delivery.Status.DELIVERED if age else Delivery.Status.PENDING
        row = described | {"stream": f"order-{name}", "event_id": uuid4(), "status": status, "settled_at": settled}
        Delivery.objects.create(**row)
    call_command("clear_expired", verbosity=0)
    assert set(Delivery.objects.values_list("stream", flat=True)) == {"order-open", "order-new"}
