"""A page has a bound in bytes as well as in rows, and `next` leads through all of it."""

from typing import Any

import pytest

from apps.eventlog import store
from apps.eventlog.api import pagination
from apps.eventlog.delivery import projecting
from apps.eventlog.projectors import services
from apps.users.events import UserDeactivated, UserRegistered
from tests.support.api import Api

USER = "0190a5b0-0000-7000-8000-000000000001"


@pytest.fixture
def long_names(monkeypatch: pytest.MonkeyPatch) -> int:
    """Bytes that a page may have; ten events of 1,000 bytes each are in the log."""
    store.append(f"user-{USER}", [UserRegistered("ann@example.org", "Ann")], expected_version=0)
    store.append(f"user-{USER}", [UserDeactivated(f"{n}" * 1000) for n in range(9)], expected_version=1)
    for service in services():
        projecting.catch_up(service)
    monkeypatch.setattr(pagination, "MOST", 3500)
    monkeypatch.setattr(pagination, "STEP", 4)
    return pagination.MOST


def pages(api: Any, url: str, onward: str) -> list[list[int]]:
    """The versions on each page."""
    found, next = [], url
    while next:
        answer = api.get(next.partition("/api/")[2])
        assert answer.status == 200
        found.append([event["stream_version"] for event in answer["results"]])
        next = answer["next"] and (f"{url}&after={answer['next']}" if onward == "after" else answer["next"])
    return found


@pytest.mark.parametrize(
    ("url", "onward"), [("/api/events/?limit=9", "after"), (f"/api/users/{USER}/history/?limit=9", "next")]
)
def test_a_page_of_large_events_ends_early_and_nothing_is_left_out(
    api: Api, long_names: int, url: str, onward: str
) -> None:
    found = pages(api.staff, url, onward)
    assert [version for page in found for version in page] == list(range(1, 11))
    assert max(len(page) for page in found) <= 4


def test_a_single_row_that_is_too_large_is_a_page_nevertheless() -> None:
    rows = [9_000_000, 9_000_000, 1]

    def fetch(row: int | None, size: int) -> list[int]:
        start = 0 if row is None else 1
        return rows[start : start + size]

    assert pagination.bounded(fetch, 3, lambda row: row) == ([9_000_000], True)


@pytest.mark.parametrize("limit", [1, 50, 100, 101, 150, 1000])
@pytest.mark.parametrize("number", [0, 1, 100, 101, 102, 1001])
def test_small_rows_fill_the_page(limit: int, number: int) -> None:
    def fetch(row: int | None, size: int) -> list[int]:
        start = 0 if row is None else row + 1
        return list(range(number))[start : start + size]

    assert pagination.bounded(fetch, limit, lambda _: 10) == (list(range(min(limit, number))), number > limit)
