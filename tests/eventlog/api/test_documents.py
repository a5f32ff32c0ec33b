"""Documents written by the database: what the declared serializers say, with an ETag and 304 where it may be."""

import gzip
from typing import Any

import msgspec
import pytest

from apps.eventlog.api.documents import DocumentSerializer
from apps.orders.models import OrderSummary
from apps.orders.read import queries as orders
from apps.orders.read.serializers import OrderReadSerializer, OrderSummaryReadSerializer
from apps.users.read import queries as users
from apps.users.read.serializers import UserReadSerializer
from tests.support.api import Api
from tests.support.history import make_history

TAKES_GZIP = {"Accept-Encoding": "gzip"}

ROWS: list[tuple[type[DocumentSerializer], Any]] = [
    (OrderReadSerializer, orders.orders),
    (OrderSummaryReadSerializer, OrderSummary.objects.all),
    (UserReadSerializer, users.users),
]


@pytest.mark.parametrize(("serializer", "rows"), ROWS)
def test_the_database_writes_what_the_serializer_declares(serializer: type[DocumentSerializer], rows: Any) -> None:
    make_history(users=3, commands=30)
    short = [msgspec.json.decode(text) for text in rows().values_list(serializer.json(), flat=True)]
    long = msgspec.json.decode(msgspec.json.encode(serializer(rows(), many=True).data, enc_hook=str))
    assert short == long
    assert [list(document) for document in short] == [list(serializer.Meta.fields)] * len(short)  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ['"quoted" \\ back', "Žluťoučký 🐎", "line\nfeed\t\u0001", "</script>"])
def test_any_text_comes_back_as_it_was_sent(api: Api, name: str) -> None:
    ann = api.customer(name=name)
    assert ann.get(f"users/{ann.user_id}/")["name"] == ann.get("users/")["results"][0]["name"] == name
    assert ann.get(f"orders/{ann.place()}/")["customer_name"] == name


@pytest.mark.parametrize("tag", ['"1"', 'W/"1"', '"7", "1"', "*"])
def test_who_has_the_document_already_is_told_so(api: Api, tag: str) -> None:
    ann = api.customer()
    for path in (f"users/{ann.user_id}/", f"orders/{ann.place()}/"):
        answer = ann.get(path, If_None_Match=tag)
        assert (answer.status, answer.headers["ETag"], answer.response.content) == (304, '"1"', b"")
        head = ann.client.head(f"/api/{path}", headers=ann.headers | {"If-None-Match": tag})
        assert (head.status_code, head.headers["ETag"]) == (304, '"1"')


@pytest.mark.parametrize("tag", ['"2"', "1", "zzz", '"', ""])
def test_who_has_another_version_gets_this_one(api: Api, tag: str) -> None:
    ann = api.customer()
    assert ann.get(f"users/{ann.user_id}/", If_None_Match=tag).status == 200


def test_an_order_whose_customer_got_a_new_name_is_sent_again(api: Api) -> None:
    ann = api.customer()
    order = f"orders/{ann.place()}/"
    ann.post(f"users/{ann.user_id}/rename/", {"name": "Anna"})
    answer = ann.get(order, If_None_Match='"1"')
    assert (answer.status, answer["customer_name"], answer.headers["ETag"]) == (200, "Anna", '"1"')
    ann.post(f"{order}pay/", {"payment_reference": "p"})
    assert ann.get(order, If_None_Match='"2"').status == 304


def test_an_order_whose_customer_was_erased_is_sent_again(api: Api) -> None:
    ann, staff = api.customer(), api.staff
    order = f"orders/{ann.place()}/"
    assert staff.post(f"users/{ann.user_id}/erase/", {"reason": "asked"}).status == 202
    answer = staff.get(order, If_None_Match='"1"')
    assert (answer.status, answer["customer_name"]) == (200, "[erased]")


def test_anothers_document_is_not_found_whatever_one_claims_to_have(api: Api) -> None:
    ann, bob = api.customer(), api.customer("bob@example.org", "Bob")
    assert bob.get(f"orders/{ann.place()}/", If_None_Match="*").status == 404


def test_a_long_list_is_compressed_for_whoever_takes_gzip(api: Api) -> None:
    staff, ann = api.staff, api.customer()
    for _ in range(12):
        ann.place()
    plain, packed = staff.get("orders/"), staff.client.get("/api/orders/", headers=staff.headers | TAKES_GZIP)
    assert (packed.headers["Content-Encoding"], packed.headers["Vary"].count("Accept-Encoding")) == ("gzip", 1)
    assert len(packed.content) < len(plain.response.content) / 3
    assert msgspec.json.decode(gzip.decompress(packed.content)) == plain.json


def test_a_document_keeps_its_strong_etag_however_long_it_is(api: Api) -> None:
    ann = api.customer()
    lines = [{"sku": f"A-{number}", "quantity": 1, "unit_price": "1.00"} for number in range(200)]
    id = ann.post("orders/", {"currency": "EUR", "lines": lines})["id"]
    answer = ann.get(f"orders/{id}/", **TAKES_GZIP)
    assert (answer.headers["ETag"], "Content-Encoding" in answer.headers) == ('"1"', False)


def walked(somebody: Api, path: str) -> list[list[Any]]:
    """The pages of a list to its end and back."""
    pages, page = [], somebody.get(path)
    pages.append(page["results"])
    for link in ("next", "previous"):
        while page[link]:
            page = somebody.get(page[link].partition("/api/")[2])
            pages.append(page["results"])
    return pages


@pytest.mark.parametrize("who", ["staff", "customer"])
def test_pages_by_statements_made_once_are_those_of_a_query_made_anew(api: Api, who: str) -> None:
    ann, bob = api.customer(), api.customer("bob@example.org", "Bob")
    for customer in (ann, bob, ann, ann, bob, ann):
        customer.place()
    somebody = api.staff if who == "staff" else ann
    pages = walked(somebody, "orders/?limit=2")
    assert len(pages) == (5 if who == "staff" else 3)
    assert pages == walked(somebody, "orders/?limit=2&ordering=-placed_at")
