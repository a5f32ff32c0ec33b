"""`?at=` and `?version=`: a document as it stood then."""

from typing import Any
from urllib.parse import quote
from uuid import uuid4

import pytest

from tests.support.api import Api


def test_each_version_and_instant_gives_the_document_of_that_time(api: Api) -> None:
    ann, staff = api.customer(), api.staff
    order = f"orders/{ann.place()}/"
    then: list[Any] = [ann.get(order).json]
    for name, body in {"pay": {"payment_reference": "p"}, "ship": {"tracking_number": "t"}, "deliver": {}}.items():
        staff.post(f"{order}{name}/", body)
        then.append(ann.get(order).json)
    for version, document in enumerate(then, start=1):
        answer = ann.get(f"{order}?version={version}")
        assert (answer.json, answer.headers["ETag"]) == (document, f'"{version}"')
        assert ann.get(f"{order}?at={quote(document['updated_at'])}").json == document


def test_the_customers_name_is_that_of_the_time(api: Api) -> None:
    ann = api.customer()
    order = f"orders/{ann.place()}/"
    ann.post(f"users/{ann.user_id}/rename/", {"name": "Anna"})
    assert (ann.get(order)["customer_name"], ann.get(f"{order}?version=1")["customer_name"]) == ("Anna", "Ann")
    user = f"users/{ann.user_id}/"
    assert [ann.get(f"{user}?version={version}")["name"] for version in (1, 2)] == ["Ann", "Anna"]


@pytest.mark.parametrize(
    ("query", "status", "pointer"),
    [
        ("version=2", 404, None),
        ("at=1999-01-01T00:00:00Z", 404, None),
        ("version=0", 400, "/version"),
        ("version=" + "9" * 30, 400, "/version"),
        ("at=then", 400, "/at"),
        ("at=2026-01-01T00:00:00Z&version=1", 400, "/version"),
        ("when=now", 400, "/when"),
    ],
)
def test_what_never_was_is_not_found(api: Api, query: str, status: int, pointer: str | None) -> None:
    ann = api.customer()
    answer = ann.get(f"orders/{ann.place()}/?{query}")
    assert answer.status == status
    assert pointer is None or [error["pointer"] for error in answer["errors"]] == [pointer]


def test_anothers_past_is_not_found_either(api: Api) -> None:
    ann, bob = api.customer(), api.customer("bob@example.org", "Bob")
    assert bob.get(f"orders/{ann.place()}/?version=1").status == 404
    assert bob.get(f"users/{ann.user_id}/?version=1").status == 404
    assert bob.get(f"orders/{uuid4()}/?version=1").status == 404
