"""`replay_events --verify`: every difference between rows and log is found, and nothing else."""

import json
import random
from datetime import UTC, datetime
from io import StringIO
from typing import Any
from uuid import uuid4

import pytest
from django.core.management import CommandError, call_command
from django.db import connections
from django.db.models import Model

from apps.eventlog import store
from apps.eventlog.projectors import Projector
from apps.eventlog.replay.verify_rows import MISSING, verify
from apps.orders.models import Order
from tests.support.api import Api
from tests.support.fold import projected
from tests.support.history import make_history


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
    assert output.count("as the log says") == len(Projector.registry)
    assert (projected(), store.head()) == (rows, head)


def test_rows_that_lag_behind_the_log_are_no_difference(worker_mode: None) -> None:
    make_history(users=1, commands=1)
    assert not run()[1]


@pytest.mark.parametrize("edits", [8, pytest.param(50, marks=pytest.mark.nightly)])
def test_each_of_many_edits_is_found(edits: int) -> None:
    make_history(users=8, commands=120)
    chance = random.Random(5)
    models = [m for kind in Projector.registry.values() for m in kind.models if m._default_manager.exists()]
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


GARBAGE = [
    ("orders_order", "placed_at", "'yesterday'"),
    ("orders_order", "customer_id", "'nobody'"),
    ("orders_order", "lines", "'[{'"),
    ("orders_order", "lines", "'[1e400, NaN]'"),
    ("orders_order", "version", "'two'"),
    ("orders_order", "version", "9e999"),
    ("orders_order", "status", "CAST(x'ff' AS text)"),
    ("orders_order", "currency", "x'00'"),
    ("orders_order", "id", "'no uuid'"),
    ("orders_order", "id", "CAST(x'ff' AS text)"),
    ("orders_customer", "active", "'perhaps'"),
    ("orders_customer", "updated_at", "replace(updated_at, ' ', 'T')"),
    ("orders_ordersummary", "day", "'31 February'"),
    ("users_user", "registered_at", "x'ff'"),
]


@pytest.mark.sqlite
@pytest.mark.parametrize(("table", "column", "garbage"), GARBAGE)
def test_a_value_that_its_field_cannot_read_is_a_difference(table: str, column: str, garbage: str) -> None:
    make_history(users=1, commands=8)
    edit = f'UPDATE {table} SET "{column}" = {garbage} WHERE rowid = (SELECT min(rowid) FROM {table})'
    with connections[table.partition("_")[0]].cursor() as cursor:
        cursor.execute("PRAGMA ignore_check_constraints = ON")
        cursor.execute(edit)
        cursor.execute("PRAGMA ignore_check_constraints = OFF")
    output, failed = run("--format", "json")
    assert failed
    found = [(document["table"], document["field"]) for document in map(json.loads, output.splitlines())]
    assert found == ([(table, "")] * 2 if column == "id" else [(table, column)])
    assert table in run()[0]
    call_command("replay_events", "--no-progress", stdout=StringIO())
    assert not run()[1]


@pytest.mark.postgres
@pytest.mark.parametrize("garbage", ["infinity", "20000-01-01T00:00Z", "4000-01-01 BC"])
def test_an_instant_that_python_does_not_have_is_a_difference(garbage: str) -> None:
    make_history(users=1, commands=1)
    with connections["users"].cursor() as cursor:
        cursor.execute("UPDATE users_user SET updated_at = %s", [garbage])
    output, failed = run("--format", "json")
    assert failed
    assert [json.loads(line)["field"] for line in output.splitlines()] == ["updated_at"]


@pytest.mark.sqlite
def test_json_that_is_written_in_another_way_is_no_difference(api: Api) -> None:
    order = api.staff.place(customer=api.customer(name="Zoë").user_id)
    lines = Order.objects.get(pk=order).lines
    for text, same in (
        (json.dumps(lines), True),  # with spaces, as older versions wrote it
        (json.dumps([{key: line[key] for key in reversed(line)} for line in lines], ensure_ascii=True), True),
        (json.dumps(lines).replace("12.50", "12.5"), False),
        (json.dumps(lines).replace('"quantity": 2', '"quantity": 2.0'), False),
        (json.dumps(lines).replace("{", '{"sku": "B", ', 1), False),
    ):
        with connections["orders"].cursor() as cursor:
            cursor.execute("UPDATE orders_order SET lines = %s", [text])
        assert run("--projector", "OrderProjector")[1] != same, text


@pytest.mark.parametrize("options", [["--until", "3"], ["--workers", "0"]])
def test_impossible_options_are_explained(options: list[str]) -> None:
    with pytest.raises(CommandError, match=r"--until needs --into|--workers must be"):
        call_command("replay_events", *options)
