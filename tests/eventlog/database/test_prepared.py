"""A query that is built once answers what it would if it were built for each request."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from django.db.models import Q, QuerySet

from apps.eventlog.database import prepared
from apps.orders.models import Customer

START = datetime(2026, 1, 1, tzinfo=UTC)
NAMES = ["Ann", "Bob", "sample 1", "Ann"]
Rows = QuerySet[Any, Any]


@pytest.fixture(autouse=True)
def customers() -> Iterator[None]:
    prepared._statement.cache_clear()
    for number, name in enumerate(NAMES):
        at = START + timedelta(days=number)
        Customer.objects.create(id=UUID(int=number), version=1, name=name, active=number != 2, updated_at=at)
    yield
    prepared._statement.cache_clear()


def selected(rows: QuerySet[Customer]) -> Rows:
    return rows.order_by("id").values_list("id", "name", "active", "updated_at")


def by_id(*, id: UUID) -> Rows:
    return selected(Customer.objects.filter(id=id))


def among(ordering: str, *, ids: tuple[UUID, ...], name: str | None) -> Rows:
    rows = Customer.objects.filter(Q(id__in=ids) | Q(updated_at=START))
    return selected(rows if name is None else rows.filter(name=name)).order_by(ordering)


def since(*, at: datetime) -> Rows:
    return selected(Customer.objects.filter(updated_at__gte=at))


def beside_a_constant(*, name: str) -> Rows:
    return selected(Customer.objects.filter(Q(name=name) | Q(name="sample 1")))


def containing(*, name: str) -> Rows:
    return selected(Customer.objects.filter(name__contains=name))


def that_are(*, active: bool) -> Rows:
    return selected(Customer.objects.filter(active=active))


def by_a_word(*, word: str) -> Rows:
    return selected(Customer.objects.filter(active=word == "active"))


def none_of_them(*, name: str) -> Rows:
    return selected(Customer.objects.filter(name=name).none())


ALIKE: list[tuple[Any, tuple[Any, ...], list[dict[str, Any]]]] = [
    (by_id, (), [{"id": UUID(int=number)} for number in (0, 3, 1, 9, 1001)]),
    (among, ("id",), [{"ids": (UUID(int=a), UUID(int=b)), "name": None} for a, b in [(1, 2), (2, 3), (2, 2)]]),
    (among, ("-id",), [{"ids": (UUID(int=1), UUID(int=3)), "name": name} for name in (None, "Ann", "Bob", "'; --")]),
    (since, (), [{"at": START + timedelta(days=days)} for days in (1, 0, 5)]),
    (since, (), [{"at": at.astimezone()} for at in (START, START + timedelta(days=2))]),
    (beside_a_constant, (), [{"name": name} for name in ("Ann", "sample 1", "Bob", "%s")]),
]
BUILT_EACH_TIME: list[tuple[Any, list[dict[str, Any]]]] = [
    (containing, [{"name": name} for name in ("n", "b", "%")]),
    (that_are, [{"active": active} for active in (True, False, True)]),
    (by_a_word, [{"word": word} for word in ("active", "other")]),
    (none_of_them, [{"name": "Ann"}, {"name": "Bob"}]),
]


@pytest.mark.parametrize(("build", "shape", "given"), ALIKE)
def test_it_answers_what_a_new_one_would(build: Any, shape: tuple[Any, ...], given: list[dict[str, Any]]) -> None:
    calls = []

    def counted(*shape: Any, **values: Any) -> Rows:
        calls.append(values)
        return build(*shape, **values)

    for values in given:
        assert [tuple(row) for row in prepared.rows(counted, *shape, **values)] == list(build(*shape, **values))
    kinds = {tuple(value is None for value in values.values()) for values in given}
    assert len(calls) == 2 * len(kinds)


@pytest.mark.parametrize(("build", "given"), BUILT_EACH_TIME)
def test_what_cannot_be_kept_is_built_each_time(build: Any, given: list[dict[str, Any]]) -> None:
    for values in given:
        assert [tuple(row) for row in prepared.rows(build, **values)] == list(build(**values))


def test_a_mistake_in_a_query_is_not_hidden() -> None:
    def wrong(*, id: UUID) -> Rows:
        return selected(Customer.objects.filter(no_such_column=id))

    with pytest.raises(Exception, match="no_such_column"):
        prepared.rows(wrong, id=UUID(int=1))
