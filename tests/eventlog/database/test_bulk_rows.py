"""Many rows at once come back as they were, whatever is in them."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from uuid import UUID, uuid4

import pytest
from django.apps.registry import Apps
from django.db import IntegrityError, connections, models

from apps.eventlog.database import bulk_rows

AWKWARD = ["", "plain", r"\N", r"\.", "a\\b\tc\nd\re", "\"quoted\", 'so'", "Żółć \U0001f600", " ", "%s ?"]
MOMENTS = [
    datetime(2026, 11, 26, 9, 0, 0, 1, tzinfo=UTC),
    datetime(2026, 11, 26, tzinfo=timezone(timedelta(hours=5, minutes=30))),
    datetime(1, 1, 1, tzinfo=UTC),
    datetime(2026, 11, 26, tzinfo=timezone(timedelta(minutes=19, seconds=32))),
]


class Thing(models.Model):  # noqa: DJ008
    """A row with a column of each kind, the last ones of those that go through their field."""

    id = models.UUIDField(primary_key=True)
    other_id = models.UUIDField()
    number = models.BigIntegerField()
    text = models.TextField(default="")
    yes = models.BooleanField(default=True)
    at = models.DateTimeField()
    tags = models.JSONField(default=list)
    day = models.DateField(null=True)
    amount = models.DecimalField(max_digits=9, decimal_places=2, null=True)

    class Meta:
        app_label, apps = "orders", Apps()


class Usual(models.Model):  # noqa: DJ008
    """A row with none of those, which PostgreSQL is given as one text."""

    id = models.UUIDField(primary_key=True)
    number = models.IntegerField()
    text = models.CharField(max_length=50)
    yes = models.BooleanField(default=True)
    at = models.DateTimeField()
    tags = models.JSONField(default=list)

    class Meta:
        app_label, apps = "orders", Apps()


@pytest.fixture(params=[Thing, Usual])
def model(request: pytest.FixtureRequest) -> Iterator[type[models.Model]]:
    with connections["orders"].schema_editor() as editor:
        editor.create_model(request.param)
    yield request.param
    with connections["orders"].schema_editor() as editor:
        editor.delete_model(request.param)


def values(model: type[models.Model], number: int) -> dict[str, object]:
    text = AWKWARD[number % len(AWKWARD)]
    every = {
        "id": UUID(int=number), "other_id": uuid4(), "number": number, "text": text, "yes": number % 3 == 0,
        "at": MOMENTS[number % len(MOMENTS)], "tags": [text, {text: number}, None],
        "day": None if number % 2 else date(2026, 1, 1), "amount": None if number % 5 else Decimal("12.50"),
    }  # fmt: skip
    return {field.name: every[field.name] for field in model._meta.concrete_fields}


@pytest.mark.parametrize("count", [1, 700, 1000])
def test_rows_come_back_as_they_were(model: type[models.Model], count: int) -> None:
    given = [values(model, number) for number in range(count)]
    bulk_rows.insert(model, [model(**each) for each in given])
    assert list(model.objects.using("orders").order_by("number").values()) == given


def test_with_a_row_that_is_there_already_none_is_inserted(model: type[models.Model]) -> None:
    bulk_rows.insert(model, [model(**values(model, number)) for number in range(3)])
    with pytest.raises(IntegrityError):
        bulk_rows.insert(model, [model(**values(model, number)) for number in (*range(3, 1000), 2)])
    assert model.objects.using("orders").count() == 3


def test_blank_rows_have_defaults_of_their_own() -> None:
    blank = bulk_rows.blank_rows(Thing)
    one, other = blank(UUID(int=1)), blank(UUID(int=2))
    one.tags.append("of one")
    assert (one.pk, one.text, one.yes, one.tags) == (UUID(int=1), "", True, ["of one"])
    assert (other.pk, other.tags) == (UUID(int=2), [])
    assert one._state is not other._state
