"""`replay_events --verify`: every difference between rows and log is found, and nothing else."""

import json
import random
from datetime import UTC, datetime
from io import StringIO
from typing import Any
from uuid import uuid4

import pytest
from django.core.management import CommandError, call_command
from django.db.models import Model

from apps.eventlog import store
from apps.eventlog.projectors import Projector
from apps.eventlog.verify import MISSING, verify
from apps.orders.models import Order
from tests.fold import projected
from tests.history import make_history


def run(*arguments: str) -> tuple[str, bool]:
    """What --verify prints, and whether it fails."""
    out = StringIO()
    try:
        call_command("replay_events", "--verify", *arguments, stdout=out)
    except CommandError:
        return out.getvalue(), True
    return out.getvalue(), False


def test_rows_that_are_as_the_log_says_pass() -> None:
    make_history()
    rows, head = projected(), store.head()
    output, failed = run()
    assert not failed
    assert output.count("as the log says") == 4
    assert (projected(), store.head()) == (rows, head)


def test_rows_that_lag_behind_the_log_are_no_difference(worker_mode: None) -> None:
    make_history(users=1, commands=1)
    assert not run()[1]


@pytest.mark.parametrize("edits", [12, pytest.param(50, marks=pytest.mark.nightly)])
def test_each_of_many_edits_is_found(edits: int) -> None:
    make_history(users=8, commands=120)
    chance = random.Random(5)
    models = [model for kind in Projector.registry.values() for model in kind.models]
    for _ in range(edits):
        edited = edit(chance.choice(models), chance)
        found = [(d.table, d.key) for kind in Projector.registry.values() for d in verify(kind)]
        assert set(found) == {edited}
        call_command("replay_events", "--no-progress", stdout=StringIO())


def edit(model: type[Model], chance: random.Random) -> tuple[str, str]:
    """Delete a row, add one, or change one field of one; returns the table and the key."""
    row: Any = chance.choice(list(model._default_manager.all()))
    act = chance.choice(["delete", "add", "change"])
    key = row.pk
    if act == "delete":
        row.delete()
    elif act == "add":
        key = row.pk = uuid4() if not isinstance(row.pk, str) else "1999-01-01 CHF"
        row.save(force_insert=True)
    else:
        field = chance.choice([field for field in model._meta.concrete_fields if not field.primary_key])
        model._default_manager.filter(pk=row.pk).update(**{field.name: other(getattr(row, field.attname))})
    return model._meta.db_table, str(key)


def other(value: Any) -> Any:
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1
    if isinstance(value, list):
        return [*value, {}]
    if isinstance(value, str):
        return value[::-1] + "x" if len(value) < 3 else "x" + value[1:]
    if isinstance(value, datetime):
        return datetime(1999, 1, 1, tzinfo=UTC)
    return uuid4() if hasattr(value, "hex") else datetime(1999, 1, 1, tzinfo=UTC).date()


def test_a_difference_names_row_field_and_both_values() -> None:
    make_history()
    order = Order.objects.first()
    Order.objects.filter(pk=order.pk).update(total="0.00")
    output, failed = run("--format", "json")
    assert failed
    [difference] = [json.loads(line) for line in output.splitlines()]
    assert difference == {
        "projector": "OrderProjector",
        "table": "orders_order",
        "key": str(order.pk),
        "field": "total",
        "live": "0.00",
        "log": order.total,
    }
    text, _ = run("--projector", "OrderProjector")
    assert f"orders_order {order.pk} total: live 0.00, log {order.total}" in text
    assert "OrderProjector: 1 differences in 1 rows" in text
    Order.objects.filter(pk=order.pk).delete()
    [missing] = [json.loads(line) for line in run("--format", "json")[0].splitlines()]
    assert (missing["field"], missing["live"]) == ("", MISSING)


@pytest.mark.parametrize("options", [["--until", "3"], ["--workers", "0"]])
def test_impossible_options_are_explained(options: list[str]) -> None:
    with pytest.raises(CommandError, match=r"--until needs --into|--workers must be"):
        call_command("replay_events", *options)
