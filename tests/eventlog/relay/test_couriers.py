"""Couriers share the endpoints, take over from one that died, and stop where the log went back."""

from itertools import pairwise
from typing import Any
from uuid import uuid4

import pytest
from django.core.management import CommandError, call_command
from django.db import connections
from django.test import Client

from apps.eventlog import store
from apps.eventlog.relay.webhooks import courier, endpoints, leases, roster
from apps.eventlog.relay.webhooks.models import Courier, Endpoint
from tests.eventlog.relay.endpoints_at_work import append, delivering, document, eventually, made, of_stream
from tests.support.older_log import save_log
from tests.support.receiver import Receiver

pytestmark = pytest.mark.usefixtures("quick")


def test_couriers_share_the_endpoints_and_send_nothing_twice(receiver: Receiver) -> None:
    names = [f"e{number}" for number in range(6)]
    for name in names:
        made(receiver, name)
    owners = Endpoint.objects.values_list("courier", flat=True)
    with delivering(3):
        while sorted(map(list(owners.all()).count, set(owners.all()) - {None})) != [2, 2, 2]:
            append("counter-1")
            append("counter-2")
        eventually(lambda: all(receiver.positions(name)[-1:] == [store.head()] for name in names))
    assert all(len(receiver.tried[name]) == store.head() for name in names)
    assert (Courier.objects.count(), Endpoint.objects.filter(courier=None).count()) == (0, 6)


def test_what_a_courier_leaves_that_died_is_taken_over(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "ALIVE", 0.3)
    monkeypatch.setattr(leases, "MARGIN", 0.1)
    made(receiver, "a")
    dead = leases.Lease()
    dead.renew()
    assert len(dead.share(0).taken_over) == 1
    positions = append(number=2)
    with delivering():
        eventually(lambda: receiver.positions("a") == positions)
    assert not dead.holds
    with pytest.raises(roster.LeaseLost):
        late = roster.Roster()
        late.lease = dead
        late.recipients[uuid4()] = None  # type: ignore[assignment]
        late.beat()


def test_an_endpoint_of_a_log_that_went_back_stops_and_one_replay_lets_it_go_on(
    receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    append(number=5)
    id = made(receiver, "a")
    append("counter-1", 3)
    call_command("run_projectors", "--once")
    saved = save_log()
    try:
        lost = append("counter-1", 3)
        call_command("run_projectors", "--once")
        assert receiver.positions("a")[-3:] == lost
        saved.put_back()
    finally:
        saved.forget()
    found = append("counter-2", 6)
    assert document(id)["log_went_back"]
    with pytest.raises(CommandError, match=f"webhook {id}"):
        call_command("run_projectors", "--once")
    assert len(receiver.got["a"]) == 6
    assert document(id)["last_error"].startswith("LogWentBack: the log went back: at position")
    assert Client().get("/readyz").json()["default"] == "log_went_back"
    assert "Run `manage.py replay_events`" in caplog.text
    call_command("replay_events", "--no-progress")
    call_command("run_projectors", "--once")
    assert set(found) <= {each.document["position"] for each in receiver.got["a"][6:]}
    assert all(earlier < later for earlier, later in pairwise(of_stream(receiver, "a", "counter-2")))
    assert not document(id)["log_went_back"]
    assert Client().get("/readyz").json()["default"] is True


def test_everything_after_a_position_is_sent_again(receiver: Receiver) -> None:
    id = made(receiver, "a")
    positions = append("counter-1", 4)
    call_command("run_projectors", "--once")
    endpoints.send_from(id, positions[1])
    call_command("run_projectors", "--once")
    assert receiver.positions("a") == positions + positions[2:]


def test_a_database_that_is_away_for_a_moment_ends_no_courier(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(courier, "RETRY", 0.05)
    made(receiver, "a")
    usual, calls = store.safe_place, []

    def sometimes() -> Any:
        calls.append(1)
        if len(calls) % 3 == 0:
            raise connections["eventlog"].Database.OperationalError("away")
        return usual()

    monkeypatch.setattr(store, "safe_place", sometimes)
    with delivering():
        positions = append("counter-1", 3)
        eventually(lambda: set(receiver.positions("a")) == set(positions))
