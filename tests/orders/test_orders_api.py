"""Orders over HTTP: commands by POST, queries by GET, and who may."""

from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest

from apps.eventlog import store
from apps.eventlog.api import conditions
from tests.support.api import Answer, Api

LINE = {"sku": "A-1", "quantity": 2, "unit_price": "12.50"}


def pointers(answer: Answer) -> list[str]:
    assert answer.status == 400, answer
    assert answer.headers["Content-Type"] == "application/problem+json"
    return [error["pointer"] for error in answer["errors"]]


def test_an_order_from_placing_to_delivery(api: Api) -> None:
    ann, staff = api.customer(), api.staff
    placed = ann.post("orders/", {"currency": "EUR", "lines": [LINE, {**LINE, "sku": "B", "unit_price": "0.10"}]})
    order = f"orders/{placed['id']}/"
    assert placed.status == 201
    assert placed.headers["Location"].endswith(f"/api/{order}")
    assert placed.headers["Event-Position"] == str(placed["position"])
    steps = [
        ann.post(f"{order}pay/", {"payment_reference": "p-1"}),
        staff.post(f"{order}ship/", {"tracking_number": "t-1"}),
        staff.post(f"{order}deliver/"),
    ]
    assert [step.status for step in steps] == [202, 202, 202]
    assert [step["version"] for step in steps] == [2, 3, 4]
    document = ann.get(order)
    assert document.headers["ETag"] == '"4"'
    expected = {
        "id": placed["id"],
        "version": 4,
        "customer_id": ann.user_id,
        "customer_name": "Ann",
        "status": "delivered",
        "currency": "EUR",
        "total": "25.20",
        "lines": [{**LINE, "amount": "25.00"}, {"sku": "B", "quantity": 2, "unit_price": "0.10", "amount": "0.20"}],
        "payment_reference": "p-1",
        "tracking_number": "t-1",
        "cancel_reason": "",
    }
    assert {name: document[name] for name in expected} == expected
    assert set(document.json) == {*expected, "placed_at", "updated_at"}
    types = [event["type"] for event in ann.get(f"{order}history/")["results"]]
    assert types == [f"orders.Order{step}" for step in ("Placed", "Paid", "Shipped", "Delivered")]


def test_a_forbidden_transition_is_a_conflict_that_names_the_rule(api: Api) -> None:
    staff = api.staff
    order = api.customer().place()
    answer = staff.post(f"orders/{order}/ship/", {"tracking_number": "t"})
    assert (answer.status, answer["detail"]) == (409, "only a paid order can be shipped")


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"currency": "EUR"}, "/lines"),
        ({"currency": "EUR", "lines": []}, "/lines"),
        ({"currency": "EUR", "lines": [LINE] * 501}, "/lines"),
        ({"currency": "XYZ", "lines": [LINE]}, "/currency"),
        ({"lines": [LINE]}, "/currency"),
        ({"currency": "EUR", "lines": [{**LINE, "quantity": 0}]}, "/lines/0/quantity"),
        ({"currency": "EUR", "lines": [{**LINE, "quantity": 1_000_001}]}, "/lines/0/quantity"),
        ({"currency": "EUR", "lines": [{**LINE, "quantity": 1.5}]}, "/lines/0/quantity"),
        ({"currency": "EUR", "lines": [{**LINE, "quantity": True}]}, "/lines/0/quantity"),
        ({"currency": "EUR", "lines": [LINE, {**LINE, "unit_price": "-1"}]}, "/lines/1/unit_price"),
        ({"currency": "EUR", "lines": [{**LINE, "unit_price": "1.005"}]}, "/lines/0/unit_price"),
        ({"currency": "JPY", "lines": [{**LINE, "unit_price": "1.5"}]}, "/lines/0/unit_price"),
        ({"currency": "EUR", "lines": [{**LINE, "unit_price": 12.5}]}, "/lines/0/unit_price"),
        ({"currency": "EUR", "lines": [{**LINE, "unit_price": "NaN"}]}, "/lines/0/unit_price"),
        ({"currency": "EUR", "lines": [{**LINE, "unit_price": "1e-30"}]}, "/lines/0/unit_price"),
        ({"currency": "EUR", "lines": [{**LINE, "unit_price": "1234567890123"}]}, "/lines/0/unit_price"),
        ({"currency": "EUR", "lines": [{**LINE, "sku": ""}]}, "/lines/0/sku"),
        ({"currency": "EUR", "lines": [{**LINE, "total": "1"}]}, "/lines/0/total"),
        ({"currency": "EUR", "lines": [LINE], "total": "1.00"}, "/total"),
        ({"currency": "EUR", "lines": [LINE], "status": "paid"}, "/status"),
        ({"currency": "EUR", "lines": [LINE], "customer_id": "me"}, "/customer_id"),
    ],
)
def test_a_bad_field_is_named(api: Api, body: dict[str, object], pointer: str) -> None:
    ann = api.customer()
    head = store.head()
    assert pointers(ann.post("orders/", body)) == [pointer]
    assert store.head() == head


def test_prices_take_the_decimals_of_their_currency(api: Api) -> None:
    ann = api.customer()
    for currency, price, total in [("JPY", "100", "200"), ("EUR", "1", "2.00"), ("KWD", "0.125", "0.250")]:
        order = ann.place(price=price, currency=currency)
        assert ann.get(f"orders/{order}/")["total"] == total


def test_a_total_is_exact_however_large(api: Api) -> None:
    ann = api.customer()
    line = {"sku": "A", "quantity": 1_000_000, "unit_price": "9999999999.99"}
    placed = ann.post("orders/", {"currency": "EUR", "lines": [line] * 500})
    assert ann.get(f"orders/{placed['id']}/")["total"] == "4999999999995000000.00"


def test_staff_name_the_customer(api: Api) -> None:
    assert pointers(api.staff.post("orders/", {"currency": "EUR", "lines": [LINE]})) == ["/customer_id"]


def test_a_customer_orders_only_for_themselves(api: Api) -> None:
    ann, bob = api.customer(), api.customer("bob@example.org", "Bob")
    body = {"currency": "EUR", "lines": [LINE], "customer_id": bob.user_id}
    assert ann.post("orders/", body).status == 404


def test_an_unknown_or_inactive_customer_is_refused(api: Api) -> None:
    staff, ann = api.staff, api.customer()
    body = {"currency": "EUR", "lines": [LINE]}
    assert staff.post("orders/", body | {"customer_id": str(uuid4())}).status == 409
    staff.post(f"users/{ann.user_id}/deactivate/", {"reason": "left"})
    refused = staff.post("orders/", body | {"customer_id": ann.user_id})
    assert (refused.status, refused["detail"]) == (409, "only an active customer can place an order")


def test_what_is_anothers_is_not_found(api: Api) -> None:
    ann, bob = api.customer(), api.customer("bob@example.org", "Bob")
    order = f"orders/{ann.place()}/"
    commands = {"pay": {"payment_reference": "p"}, "cancel": {"reason": "r"}, "deliver": {}}
    commands["ship"] = {"tracking_number": "t"}
    assert bob.get(order).status == bob.get(f"{order}history/").status == 404
    assert [bob.post(f"{order}{name}/", body).status for name, body in commands.items()] == [404] * 4
    assert bob.get("orders/")["results"] == []
    assert [document["customer_name"] for document in ann.get("orders/")["results"]] == ["Ann"]


def test_shipping_delivering_and_the_summary_are_for_staff(api: Api) -> None:
    ann = api.customer()
    order = f"orders/{ann.place()}/"
    ann.post(f"{order}pay/", {"payment_reference": "p"})
    assert ann.post(f"{order}ship/", {"tracking_number": "t"}).status == 403
    assert ann.post(f"{order}deliver/").status == 403
    assert ann.get("orders/summary/").status == 403


def test_if_match_makes_a_command_conditional(api: Api) -> None:
    ann = api.customer()
    pay, body = f"orders/{ann.place()}/pay/", {"payment_reference": "p"}
    assert ann.post(pay, body, If_Match='"2"').status == 412
    assert pointers(ann.post(pay, body, If_Match="2")) == ["/If-Match"]
    assert ann.post(pay, body, If_Match='"1"').status == 202


def test_the_same_key_gets_the_same_answer_and_one_event(api: Api) -> None:
    ann = api.customer()
    body = {"currency": "EUR", "lines": [LINE]}
    first = ann.post("orders/", body, Idempotency_Key="k-1")
    head = store.head()
    again = ann.post("orders/", body, Idempotency_Key="k-1")
    assert (again.status, again.json) == (first.status, first.json)
    assert again.headers["Location"] == first.headers["Location"]
    assert ann.post("orders/", body | {"currency": "USD"}, Idempotency_Key="k-1").status == 422
    assert store.head() == head
    assert ann.post("orders/", body, Idempotency_Key="k-2")["id"] != first["id"]
    assert pointers(ann.post("orders/", body, Idempotency_Key="k" * 256)) == ["/Idempotency-Key"]


def test_a_key_belongs_to_its_sender(api: Api) -> None:
    ann, bob = api.customer(), api.customer("bob@example.org", "Bob")
    body = {"currency": "EUR", "lines": [LINE]}
    assert ann.post("orders/", body, Idempotency_Key="k")["id"] != bob.post("orders/", body, Idempotency_Key="k")["id"]


def test_a_refused_command_is_judged_anew(api: Api) -> None:
    ann, staff = api.customer(), api.staff
    order = f"orders/{ann.place()}/"
    ship = (f"{order}ship/", {"tracking_number": "t"})
    assert staff.post(*ship, Idempotency_Key="k").status == 409
    ann.post(f"{order}pay/", {"payment_reference": "p"})
    assert staff.post(*ship, Idempotency_Key="k").status == 202


def test_lists_are_paged_both_ways_and_filtered(api: Api) -> None:
    ann, staff = api.customer(), api.staff
    orders = [ann.place(currency="EUR" if number % 2 else "USD") for number in range(7)]
    ann.post(f"orders/{orders[0]}/cancel/", {"reason": "r"})
    newest_first = list(reversed(orders))
    assert [document["id"] for document in staff.pages("orders/?limit=2")] == newest_first
    assert [document["id"] for document in staff.pages("orders/?limit=3&ordering=placed_at")] == orders
    assert [document["id"] for document in staff.pages("orders/?status=cancelled")] == orders[:1]
    assert {document["currency"] for document in staff.pages("orders/?currency=USD&limit=1")} == {"USD"}
    assert len(staff.pages(f"orders/?customer={ann.user_id}")) == 7
    assert staff.pages(f"orders/?customer={uuid4()}") == []
    now = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    assert (len(staff.pages(f"orders/?placed_before={now}")), staff.pages(f"orders/?placed_after={now}")) == (7, [])
    first = staff.get("orders/?limit=3")
    second = Answer(staff.client.get(first["next"], headers=staff.headers))
    back = Answer(staff.client.get(second["previous"], headers=staff.headers))
    assert (first["previous"], back["previous"], back["results"]) == (None, None, first["results"])


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ("limit=0", "/limit"),
        ("limit=201", "/limit"),
        ("limit=1e3", "/limit"),
        ("limit=9" + "9" * 5000, "/limit"),
        ("cursor=zzz", "/cursor"),
        ("status=lost", "/status"),
        ("customer=zzz", "/customer"),
        ("placed_after=yesterday", "/placed_after"),
        ("ordering=total", "/ordering"),
        ("colour=red", "/colour"),
    ],
)
def test_a_bad_parameter_is_named(api: Api, query: str, pointer: str) -> None:
    assert pointers(api.staff.get(f"orders/?{query}")) == [pointer]


def test_the_summary_counts_by_day_and_currency_without_cancelled_orders(api: Api) -> None:
    ann, staff = api.customer(), api.staff
    today = datetime.now(UTC).date().isoformat()
    orders = [ann.place(price="10.00") for _ in range(3)]
    ann.place(price="5", currency="JPY")
    ann.post(f"orders/{orders[0]}/cancel/", {"reason": "r"})
    assert staff.pages("orders/summary/?limit=1") == [
        {"day": today, "currency": "JPY", "orders": 1, "revenue": "10"},
        {"day": today, "currency": "EUR", "orders": 2, "revenue": "40.00"},
    ]


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Queries wait for a position for a moment, not for seconds."""
    monkeypatch.setattr(conditions, "PATIENCE", 0.05)


def test_a_query_waits_for_a_position_or_says_so(api: Api, impatient: None) -> None:
    ann = api.customer()
    order = ann.place()
    head = store.head()
    assert ann.get(f"orders/{order}/", Min_Event_Position=str(head)).status == 200
    assert pointers(ann.get("orders/", Min_Event_Position=str(head + 1))) == ["/Min-Event-Position"]
    assert pointers(ann.get("orders/", Min_Event_Position="soon")) == ["/Min-Event-Position"]


def test_a_query_is_never_stale_in_worker_mode(api: Api, settings: Any, impatient: None) -> None:
    ann = api.customer()
    settings.PROJECTIONS = "worker"
    body = {"currency": "EUR", "lines": [LINE]}
    placed = ann.post("orders/", body)
    assert ann.get(f"orders/{placed['id']}/").status == 404
    late = ann.get(f"orders/{placed['id']}/", Min_Event_Position=str(placed["position"]))
    assert (late.status, late.headers["Retry-After"]) == (503, "1")


def test_a_new_order_is_at_no_version_that_a_command_could_be_conditional_on(api: Api) -> None:
    ann = api.customer()
    body = {"currency": "EUR", "lines": [LINE]}
    assert ann.post("orders/", body, If_Match='"1"').status == 412
    assert ann.post("orders/", body, If_Match='"0"').status == 201


def test_the_feed_waits_for_a_position_too(api: Api, impatient: None) -> None:
    staff = api.staff
    api.customer()
    assert staff.get("events/", Min_Event_Position=str(store.head())).status == 200
    assert pointers(staff.get("events/", Min_Event_Position=str(store.head() + 1))) == ["/Min-Event-Position"]
