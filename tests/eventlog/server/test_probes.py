"""`/readyz` says in time what is wrong with each database."""

import threading
import time
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from django.conf import settings
from django.db import connections
from django.db.migrations.recorder import MigrationRecorder
from django.test import Client

from apps.eventlog.events import Place
from apps.eventlog.models import Relay, StoredEvent
from apps.eventlog.relay import heartbeats
from apps.eventlog.relay.cloud_events import Only
from apps.eventlog.relay.webhooks import endpoints
from apps.eventlog.relay.webhooks.models import Endpoint
from apps.eventlog.server import probes
from apps.users.models import Checkpoint
from tests.support.api import Answer, Api
from tests.support.erase import lifted
from tests.support.history import make_history
from tests.support.tamper import seal_all


@pytest.fixture(autouse=True)
def anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probes, "readiness", probes.Readiness())


def ready() -> tuple[int, dict[str, Any]]:
    answer = Answer(Client().get("/readyz"))
    return answer.status, answer.json


def test_a_database_that_hangs_is_away_in_time_and_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    go_on, asked = threading.Event(), []

    def state_of(alias: str) -> bool:
        asked.append(alias)
        return alias != "orders" or go_on.wait(30)

    monkeypatch.setattr(probes, "state_of", state_of)
    began = time.monotonic()
    answers = [ready() for _ in range(20)]
    assert time.monotonic() - began < 5  # all twenty, and the first of them waits for 1.5 s
    expected = dict.fromkeys(connections, True) | {"orders": "away"}
    assert answers == [(503, expected)] * 20
    assert asked.count("orders") == 1
    assert asked.count("users") <= 3
    go_on.set()


@pytest.fixture
def forgotten() -> Iterator[None]:
    """A migration of the orders service that did not run: its row, and in the database itself its table."""
    migrations = MigrationRecorder(connections["orders"]).migration_qs
    last = migrations.filter(app="orders").order_by("-id")[0]
    kept = {"app": last.app, "name": last.name, "applied": last.applied}
    migrations.filter(id=last.id).delete()  # not by the instance, whose database the router would choose
    rename("orders_order", "orders_elsewhere")
    yield
    rename("orders_elsewhere", "orders_order")
    migrations.create(**kept)


def rename(old: str, new: str) -> None:
    with connections["orders"].cursor() as cursor:
        cursor.execute(f"ALTER TABLE {old} RENAME TO {new}")


def test_a_forgotten_migration_is_named_and_is_no_database_that_is_away(api: Api, forgotten: None) -> None:
    assert ready() == (503, dict.fromkeys(connections, True) | {"orders": "migrations_missing"})
    answer = api.staff.get("orders/")
    assert (answer.status, "migrat" in answer["detail"]) == (503, True)


def test_seals_over_a_log_that_went_back_are_said_and_hide_no_reader(
    monkeypatch: pytest.MonkeyPatch, worker_mode: None
) -> None:
    make_history(users=2, commands=0)
    seal_all()
    assert ready()[0] == 200
    monkeypatch.setattr(probes, "readiness", probes.Readiness())
    with connections["eventlog"].cursor() as cursor, lifted(cursor):
        StoredEvent.objects.filter(position=2).delete()
    assert ready() == (503, dict.fromkeys(connections, True) | {"eventlog": "log_went_back"})
    monkeypatch.setattr(probes, "readiness", probes.Readiness())
    Checkpoint.objects.create(name="UserProjector", position=50, event_position=50, event_id=uuid4())
    expected = {"eventlog": "log_went_back", "users": "log_went_back"}
    assert ready() == (503, dict.fromkeys(connections, True) | expected)


def test_a_relay_and_an_endpoint_that_have_sent_what_the_log_lost_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    make_history(users=1, commands=0)
    heartbeats.beat("nats://here/events", Only(category=None, types=None), Place(50, uuid4()))
    endpoint, _ = endpoints.create("https://example.org/hook")
    Endpoint.objects.filter(pk=endpoint.pk).update(position=50, event_id=uuid4())
    went_back = {"eventlog": "log_went_back", "default": "log_went_back"}
    assert ready() == (503, dict.fromkeys(connections, True) | went_back)
    endpoints.change(endpoint.pk, {"active": False})
    Relay.objects.all().delete()
    monkeypatch.setattr(probes, "readiness", probes.Readiness())
    assert ready() == (200, dict.fromkeys(connections, True))


@pytest.fixture
def read_only() -> Iterator[None]:
    """The log takes no writes."""
    if connections["eventlog"].vendor == "postgresql":
        name = connections["eventlog"].settings_dict["NAME"]
        with connections["default"].cursor() as cursor:
            cursor.execute(f'ALTER DATABASE "{name}" SET default_transaction_read_only = on')
            connections["eventlog"].close()
            yield
            cursor.execute(f'ALTER DATABASE "{name}" RESET default_transaction_read_only')
    else:
        options = settings.DATABASES["eventlog"]["OPTIONS"]
        usual = options["init_command"]
        options["init_command"] = f"{usual}; PRAGMA query_only=ON"
        connections["eventlog"].close()
        yield
        options["init_command"] = usual
    connections["eventlog"].close()


@pytest.mark.direct
def test_a_read_only_database_is_named_and_commands_come_again(api: Api, read_only: None) -> None:
    assert ready() == (503, dict.fromkeys(connections, True) | {"eventlog": "read_only"})
    answer = api.staff.post("users/", {"email": "ann@example.org", "name": "Ann"})
    assert (answer.status, answer.headers["Retry-After"]) == (503, "2")
    assert "read-only" in answer["detail"]
    assert api.staff.get("users/").status == 200
