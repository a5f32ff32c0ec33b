"""Who holds the log back: an append that stays open, in a session or prepared, is named with the way to end it."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from django.contrib.auth import get_user_model
from django.core.management import CommandError, call_command
from django.db import connections
from django.test import Client

from apps.eventlog import store
from apps.eventlog.database import transaction_timeout
from apps.eventlog.delivery import checkpoints
from apps.eventlog.read import overview, queries
from tests.eventlog.events import Counted
from tests.journeys.deployment import eventually
from tests.support.api import Api
from tests.support.history import make_history

APPEND = "SELECT * FROM eventlog_append_events(%s, 0, %s::jsonb, '{}')"


def log_status(**options: Any) -> tuple[str, bool]:
    """What the command prints, and whether it says that something is wrong."""
    out = StringIO()
    try:
        call_command("log_status", stdout=out, **options)
    except CommandError:
        return out.getvalue(), True
    return out.getvalue(), False


@contextmanager
def session() -> Iterator["psycopg.Connection[Any]"]:
    """A session at the log of an application of its own."""
    params = connections["eventlog"].get_connection_params()
    names = ("host", "port", "user", "dbname")
    given = {name: params[name] for name in names if params.get(name)}
    other = psycopg.connect(**given, application_name="stuck")
    try:
        yield other
    finally:
        other.close()


def append(other: "psycopg.Connection[Any]") -> None:
    event = {"event_id": str(uuid4()), "type": Counted.type, "schema_version": 1, "data": {"n": 1}}
    other.execute(APPEND, [f"thing-{uuid4()}", json.dumps([event])])


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every open append is old."""
    monkeypatch.setattr(overview, "HELD", 0.0)


@pytest.mark.usefixtures("at_once")
def test_nothing_wrong_is_said_as_such() -> None:
    make_history(users=1, commands=3)
    printed, wrong = log_status()
    assert not wrong
    assert f"the log ends at position {store.head()} and may be read up to {store.head()}" in printed
    assert f"identity (its first event): {store.event_at(1).event_id}" in printed
    assert f"projector UserProjector of users: at position {checkpoints.positions('users')['UserProjector']}" in printed
    assert "reactor Forgetting of users" in printed
    none = "none on SQLite" if connections["eventlog"].vendor == "sqlite" else "none at the moment"
    assert f"in-flight marks: {none}" in printed


def test_what_is_wrong_comes_first() -> None:
    make_history(users=1, commands=3)
    letter = checkpoints.dead_letter_model("orders")
    letter.objects.create(projector="OrderProjector", stream="order-1", position=1, status="failed")
    printed, wrong = log_status()
    assert wrong
    assert printed.startswith("WRONG: OrderProjector of orders has 1 dead letters")
    document, _ = log_status(format="json")
    status = json.loads(document)
    assert status["wrong"] == ["OrderProjector of orders has 1 dead letters: see manage.py dead_letters list"]
    assert {reader["service"] for reader in status["readers"]} >= {"users", "orders"}


@pytest.mark.postgres
@pytest.mark.usefixtures("at_once", "worker_mode")
@pytest.mark.direct
def test_an_append_that_stays_open_is_named_and_can_be_ended(api: Api) -> None:
    make_history(users=1, commands=3)
    with session() as stuck:
        append(stuck)
        make_history(users=1, commands=1, seed=2)
        pid, position = stuck.info.backend_pid, store.safe_position()
        assert position < store.head()
        printed, wrong = log_status()
        assert wrong
        assert printed.startswith(
            f"WRONG: an open append holds back every reader at position {position}: pid {pid}, role"
        )
        assert "stuck" in printed.splitlines()[0]
        assert "idle in transaction" in printed.splitlines()[0]
        [mark] = api.staff.get("events/status/")["marks"]
        assert (mark["pid"], mark["position"], mark["application"]) == (pid, position, "stuck")
        page = Client()
        page.force_login(get_user_model().objects.create_superuser("boss"))
        assert f"SELECT pg_terminate_backend({pid})" in page.get("/admin/projectors/").content.decode()
        with connections["eventlog"].cursor() as cursor:
            cursor.execute(mark["release"])
        eventually(lambda: store.safe_position() == store.head())
    assert not log_status()[1]


@pytest.mark.postgres
def test_an_append_at_work_is_shown_and_is_not_wrong() -> None:
    with session() as busy:
        append(busy)
        printed, wrong = log_status()
        assert "in-flight mark at position 0: pid" in printed
        assert not wrong
        assert queries.status()["marks"] == []


@pytest.mark.postgres
@pytest.mark.usefixtures("at_once", "worker_mode")
def test_followers_wait_for_a_prepared_append() -> None:
    with session() as preparing:
        try:
            preparing.tpc_begin("an append")
            append(preparing)
            preparing.tpc_prepare()
        except psycopg.errors.ObjectNotInPrerequisiteState:  # a server of one's own that takes none
            return
        try:
            make_history(users=1, commands=1)
            assert store.safe_position() == 0 < store.head()
            printed, _ = log_status()
            assert "the prepared transaction" in printed.splitlines()[0]
            [mark] = queries.log()["marks"]
        finally:
            preparing.tpc_rollback()
    assert mark["release"] == "ROLLBACK PREPARED 'an append'"
    assert store.safe_position() == store.head()


@pytest.mark.postgres
@pytest.mark.direct
def test_only_commands_that_take_long_are_not_limited(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit is new in PostgreSQL 17; another one stands in for it, so that any server shows the effect."""
    monkeypatch.setattr(transaction_timeout, "LIFT", "SET lock_timeout = 12345")
    for takes_long, since, shown in ((False, 0, False), (True, 0, True), (True, 10**9, False)):
        settings.TAKES_LONG = takes_long
        monkeypatch.setattr(transaction_timeout, "KNOWN_SINCE", since)
        other = connections["eventlog"].copy()
        try:
            with other.cursor() as cursor:
                cursor.execute("SHOW lock_timeout")
                assert (cursor.fetchone() == ("12345ms",)) is shown
        finally:
            other.close()
