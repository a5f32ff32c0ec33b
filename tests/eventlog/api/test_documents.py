"""Documents written by the database: what the declared serializers say, with an ETag and, if it may be, a 304."""

import gzip
from typing import Any

import msgspec
import pytest
from django_filters import CharFilter, FilterSet

from apps.eventlog.api.documents import Documents, DocumentSerializer
from apps.orders.models import Order, OrderSummary
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


@pytest.mark.parametrize("name", ['"quoted" \\ back', "Žluťoučký 🐎", "line\u2028separator", "</script>"])
def test_any_text_comes_back_as_it_was_sent(api: Api, name: str) -> None:
    ann = api.customer(name=name)
    assert ann.get(f"users/{ann.user_id}/")["name"] == ann.get("users/")["results"][0]["name"] == name
    assert ann.get(f"orders/{ann.place()}/")["customer_name"] == name


@pytest.mark.parametrize("tag", ['"1"', 'W/"1"', '"7", "1"', "*"])
def test_who_has_the_document_already_is_told_so(api: Api, tag: str) -> None:
    ann = api.customer()
    user = f"users/{ann.user_id}/"
    answer = ann.get(user, If_None_Match=tag)
    assert (answer.status, answer.headers["ETag"], answer.response.content) == (304, '"1"', b"")
    head = ann.client.head(f"/api/{user}", headers=ann.headers | {"If-None-Match": tag})
    assert (head.status_code, head.headers["ETag"]) == (304, '"1"')


@pytest.mark.parametrize("tag", ['"1"', "*"])
def test_a_document_that_shows_facts_of_other_streams_is_always_sent(api: Api, tag: str) -> None:
    ann = api.customer()
    order = f"orders/{ann.place()}/"
    ann.post(f"users/{ann.user_id}/rename/", {"name": "Anna"})
    answer = ann.get(order, If_None_Match=tag)
    assert (answer.status, answer["customer_name"], answer.headers["ETag"]) == (200, "Anna", '"1"')


@pytest.mark.parametrize("tag", ['"2"', "1", "zzz", '"', ""])
def test_who_has_another_version_gets_this_one(api: Api, tag: str) -> None:
    ann = api.customer()
    assert ann.get(f"users/{ann.user_id}/", If_None_Match=tag).status == 200


def test_a_document_with_an_annotation_must_say_whether_it_shows_other_streams() -> None:
    with pytest.raises(TypeError, match="customer_name is no column"):

        class Undecided(DocumentSerializer):
            class Meta:
                model = Order
                fields = ("id", "version", "customer_name")


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
@pytest.mark.parametrize("filters", ["", "&currency=EUR&placed_after=2020-01-01T00:00:00Z"])
def test_pages_hold_every_row_once_there_and_back(api: Api, who: str, filters: str) -> None:
    ann, bob = api.customer(), api.customer("bob@example.org", "Bob")
    placed = [(customer, customer.place()) for customer in (ann, bob, ann, ann, bob, ann)]
    somebody = api.staff if who == "staff" else ann
    newest_first = [id for customer, id in reversed(placed) if who == "staff" or customer is ann]
    there = [newest_first[start : start + 2] for start in range(0, len(newest_first), 2)]
    for ordering, pages in (("", there), ("&ordering=-placed_at", there)):
        got = walked(somebody, f"orders/?limit=2{ordering}{filters}")
        assert [[document["id"] for document in page] for page in got] == pages + pages[-2::-1]


def test_a_filter_compares_with_the_value_of_each_request(api: Api) -> None:
    ann = api.customer()
    first, second = ann.place(), ann.place()
    ann.post(f"orders/{first}/pay/", {"payment_reference": "p"})
    for _ in range(2):
        for status, ids in {"placed": [second], "paid": [first], "shipped": []}.items():
            assert [document["id"] for document in ann.get(f"orders/?status={status}")["results"]] == ids


class Worded(FilterSet):
    """Decides by the value, and also compares with it."""

    word = CharFilter(method="by_word")

    def by_word(self, rows: Any, name: str, value: str) -> Any:
        return (rows.filter(currency="USD") if value == "dollars" else rows).exclude(status=value)


def test_a_filter_with_a_method_may_decide_by_the_value(api: Api) -> None:
    api.customer().place()
    documents = Documents(orders.orders, OrderReadSerializer, "customer_id", Worded)
    found = [len(documents.page(None, {"word": word}, ["id"], [], 9)) for word in ("any", "dollars", "any", "placed")]
    assert found == [1, 0, 1, 0]
