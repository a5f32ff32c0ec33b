"""What one client can make grow: commands in a minute, the bytes of an order, pages of personal data, kept answers."""

from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.test import Client
from django.utils import timezone

from apps.eventlog import store
from apps.eventlog.api import command_rate, idempotency
from apps.eventlog.api.command_rate import Bucket
from apps.eventlog.live.messages import Message
from apps.eventlog.models import IdempotencyRecord
from apps.eventlog.privacy import subject_report
from apps.orders.write.serializers import ORDER_BYTES
from tests.support.api import PASSWORD, Api

LINE = {"sku": "A", "quantity": 1, "unit_price": "1.00"}


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch, settings: Any) -> None:
    monkeypatch.setattr(command_rate, "commands", Bucket())
    settings.COMMANDS_PER_MINUTE, settings.STAFF_COMMANDS_PER_MINUTE = 3, 5


def test_commands_are_counted_for_each_login_and_staff_have_more(api: Api, few: None) -> None:
    ann, bob, staff = api.customer(), api.customer("bob@example.org", "Bob"), api.staff
    names = [{"name": f"Name {number}"} for number in range(7)]
    user = f"users/{ann.user_id}/rename/"
    answers = [ann.post(user, body) for body in names[:4]]
    assert [answer.status for answer in answers] == [202] * 3 + [429]
    assert 1 <= int(answers[-1].headers["Retry-After"]) <= 20
    assert bob.post(f"users/{bob.user_id}/rename/", names[0]).status == 202
    assert [staff.post(user, body).status for body in names[:6]] == [202] * 5 + [429]
    assert ann.get("users/").status == 200


def test_a_repeated_or_invalid_command_is_not_counted(api: Api, few: None) -> None:
    ann = api.customer()
    user = f"users/{ann.user_id}/rename/"
    for _ in range(5):
        assert ann.post(user, {"name": ""}).status == 400
        assert ann.post(user, {"name": "Anna"}, Idempotency_Key="k").status == 202
    assert [ann.post(user, {"name": f"Name {number}"}).status for number in range(3)] == [202, 202, 429]


def test_a_bucket_fills_again_and_forgets_who_came_long_ago(monkeypatch: pytest.MonkeyPatch) -> None:
    now, bucket = SimpleNamespace(time=0.0), Bucket()
    monkeypatch.setattr(command_rate, "monotonic", lambda: now.time)
    monkeypatch.setattr(command_rate, "REMEMBERED", 2)

    def take(login: int) -> bool:
        try:
            bucket.take(login, 60)
        except command_rate.Throttled:
            return False
        return True

    assert [take(1) for _ in range(61)] == [True] * 60 + [False]
    now.time = 2.5
    assert [take(1) for _ in range(3)] == [True, True, False]
    for login in (2, 3):
        take(login)
    assert set(bucket.levels) == {2, 3}


@pytest.mark.parametrize(("sku", "status"), [("A" * 100, 201), ("\N{HOT BEVERAGE}" * 100, 400)])
def test_an_order_has_a_bound_in_bytes(api: Api, sku: str, status: int) -> None:
    ann = api.customer()
    body = {"currency": "EUR", "lines": [LINE | {"sku": sku, "quantity": 10**6, "unit_price": "9999999999.99"}] * 500}
    answer = ann.post("orders/", body)
    assert answer.status == status
    if status == 400:
        assert answer["errors"] == [
            {"pointer": "/lines", "detail": f"more than {ORDER_BYTES} bytes", "code": "invalid"}
        ]


@pytest.mark.parametrize("chunk", [2, 100])
def test_personal_data_come_page_by_page_both_ways(api: Api, monkeypatch: pytest.MonkeyPatch, chunk: int) -> None:
    monkeypatch.setattr(subject_report, "CHUNK", chunk)
    ann = api.customer()
    for _ in range(3):
        ann.place()
    api.customer("bob@example.org", "Bob").place()
    path = f"users/{ann.user_id}/personal-data/"
    whole = ann.get(f"{path}?limit=200")
    assert (whole["subject"], whole["next"], whole["previous"]) == (ann.user_id, None, None)
    assert {value["source"] for value in whole["results"]} >= {"log", "users_user", "orders_order", "auth_user"}
    assert ann.pages(f"{path}?limit=7") == whole["results"]
    page = ann.get(f"{path}?limit=7")
    pages = [page.json]
    while page["next"]:
        page = ann.get(page["next"].partition("/api/")[2])
        pages.append(page.json)
    assert [len(each["results"]) for each in pages[:-1]] == [7] * (len(pages) - 1)
    back = []
    while page["previous"]:
        page = ann.get(page["previous"].partition("/api/")[2])
        back.append(page["results"])
    assert back[::-1] == [each["results"] for each in pages[:-1]]


def test_a_cursor_of_personal_data_fits_one_person_alone(api: Api) -> None:
    ann, bob = api.customer(), api.customer("bob@example.org", "Bob")
    mine = ann.get(f"users/{ann.user_id}/personal-data/?limit=1")["next"].partition("?")[2]
    assert bob.get(f"users/{bob.user_id}/personal-data/?{mine}").status == 400
    assert bob.get(f"users/{ann.user_id}/personal-data/?{mine}").status == 404


def test_a_key_leaves_a_record_of_valid_requests_alone(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are not even written: a process that is killed meanwhile leaves none either."""
    ann, bob, staff = api.customer(), api.customer("bob@example.org", "Bob"), api.staff
    order, written = ann.place(), []
    create = IdempotencyRecord.objects.bulk_create
    monkeypatch.setattr(IdempotencyRecord.objects, "bulk_create", lambda *a, **k: written.append(1) or create(*a, **k))
    person = {"email": "new@example.org", "name": "New", "password": PASSWORD}
    for sender, path, body, headers in (
        (api, f"users/{ann.user_id}/rename/", {"name": "X"}, {}),
        (api, "orders/", {"currency": "EUR", "lines": [LINE]}, {}),
        (api, "users/", person | {"email": "no"}, {}),
        (api, "users/", b"{", {}),
        (ann, f"users/{ann.user_id}/rename/", {"name": ""}, {}),
        (ann, f"users/{ann.user_id}/rename/?x=1", {"name": "X"}, {}),
        (ann, f"users/{ann.user_id}/rename/", {"name": "X"}, {"If_Match": "x"}),
        (bob, f"users/{ann.user_id}/rename/", {"name": "X"}, {}),
        (staff, "orders/", {"currency": "EUR", "lines": [LINE]}, {}),
    ):
        assert sender.post(path, body, Idempotency_Key="k", **headers).status >= 400
    assert (written, IdempotencyRecord.objects.count()) == ([], 0)
    for sender, path, body in (
        (bob, f"orders/{order}/pay/", {"payment_reference": "p"}),
        (ann, f"orders/{order}/ship/", {"tracking_number": "t"}),
        (ann, f"users/{ann.user_id}/erase/", {"password": "wrong wrong"}),
    ):
        assert sender.post(path, body, Idempotency_Key="k").status >= 400
    assert IdempotencyRecord.objects.count() == 0
    assert api.post("users/", person, Idempotency_Key="k").status == 201
    assert (written[-1], IdempotencyRecord.objects.count()) == (1, 1)


def test_no_digest_of_a_request_can_be_guessed_without_the_key_of_the_installation(api: Api) -> None:
    person = {"email": "new@example.org", "name": "New", "password": PASSWORD}
    assert api.post("users/", person, Idempotency_Key="k").status == 201
    record = IdempotencyRecord.objects.get()
    guesses = {idempotency._digest(["", "POST", "/api/users/", "k"]), idempotency._digest(["k", person])}
    assert not guesses & {record.digest, record.body_digest}


def test_a_record_that_an_earlier_version_kept_goes_on_answering(api: Api) -> None:
    ann = api.customer()
    path = f"/api/users/{ann.user_id}/rename/"
    digest = idempotency._digest([ann.user_id, "POST", path, "k"])
    body = idempotency._digest(["k", {"name": "Anna"}])
    IdempotencyRecord.objects.create(
        digest=digest, body_digest=body, attempt=uuid4(), started_at=timezone.now(),
        stream=f"user-{ann.user_id}", version=1, position=1,
    )  # fmt: skip
    again = ann.post(f"users/{ann.user_id}/rename/", {"name": "Anna"}, Idempotency_Key="k")
    assert (again.status, again["position"], store.head()) == (202, 1, 1)
    assert ann.post(f"users/{ann.user_id}/rename/", {"name": "Anne"}, Idempotency_Key="k").status == 422
    assert ann.post(f"users/{ann.user_id}/rename/", {"name": "Anne"}, Idempotency_Key="new").status == 202


def test_a_customer_reads_no_name_of_staff_in_a_history(api: Api) -> None:
    ann, staff = api.customer(), api.staff
    order = ann.place()
    assert ann.post(f"orders/{order}/pay/", {"payment_reference": "p"}).status == 202
    assert staff.post(f"orders/{order}/ship/", {"tracking_number": "t"}).status == 202
    staff.post(f"users/{ann.user_id}/deactivate/", {"reason": "a test"})
    staff.post(f"users/{ann.user_id}/reactivate/")
    ann = Api(api.post("auth/login/", {"username": "ann@example.org", "password": PASSWORD})["token"], ann.user_id)

    def actors(person: Api, path: str) -> list[str]:
        return [event["metadata"]["actor"] for event in person.get(f"{path}/history/")["results"]]

    assert actors(ann, f"orders/{order}") == [ann.user_id, ann.user_id, "staff"]
    assert actors(staff, f"orders/{order}") == [ann.user_id, ann.user_id, "admin"]
    assert actors(ann, f"users/{ann.user_id}") == [ann.user_id, "staff", "staff"]
    assert actors(staff, f"users/{ann.user_id}") == [ann.user_id, "admin", "admin"]


def test_the_live_stream_says_staff_to_customers_as_histories_do(api: Api) -> None:
    ann, staff = api.customer(), api.staff
    order = ann.place()
    staff.post(f"orders/{order}/cancel/", {"reason": "a test"})
    first, last = [Message.of(recorded, UUID(ann.user_id)) for recorded in store.read_stream(f"order-{order}")]
    assert first.own is first.text
    assert b'"actor":"admin"' in last.text
    assert b"admin" not in last.own
    assert b'"actor":"staff"' in last.own
    assert Client().get("/api/events/stream/").status_code == 401
