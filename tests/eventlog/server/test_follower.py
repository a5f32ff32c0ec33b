"""The thread of a server that follows the log: rows, reactors and processes, though no command comes."""

from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.db import OperationalError

from apps.eventlog import store
from apps.eventlog.delivery import projecting
from apps.eventlog.server import follower
from apps.eventlog.server.follower import Follower
from apps.orders.models import Order
from apps.users.events import UserDeactivated, UserRegistered
from apps.users.models import User
from tests.journeys.deployment import eventually
from tests.support.fulfilment import history, place_orders


def test_one_look_brings_everything_up_that_was_appended_elsewhere(settings: Any) -> None:
    settings.PAYMENT_DEADLINE = timedelta(0)
    [order] = place_orders(1)
    look = Follower()
    for _ in range(3):
        look.look()
    assert User.objects.count() == 1
    assert history(order) == ["OrderPlaced", "OrderCancelled"]
    assert Order.objects.get().status == "cancelled"


def test_the_thread_follows_and_stops_and_bears_a_database_that_is_away(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    catch_up, failures = projecting.catch_up, iter([OperationalError("away")] * 2)

    def away_at_first(service: str, **options: Any) -> None:
        if service == "users" and (error := next(failures, None)):
            raise error
        catch_up(service, **options)

    monkeypatch.setattr(follower.projecting, "catch_up", away_at_first)
    thread = Follower()
    thread.start()
    try:
        user = uuid4()
        events = [UserRegistered(f"{user}@example.org", "Ann"), UserDeactivated("left")]
        store.append(f"user-{user}", events, expected_version=0)
        eventually(lambda: User.objects.filter(id=user, status="inactive").exists())
    finally:
        thread.stop()
    assert not thread.thread.is_alive()
    assert "users cannot be followed, trying again: away" in caplog.text


def test_with_workers_a_server_follows_nothing(worker_mode: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Follower, "start", lambda self: pytest.fail("started"))
    follower.follow()


@pytest.mark.parametrize(("took", "rest"), [(0.0, 0.05), (0.01, 0.09), (1.0, 0.5)])
def test_it_takes_a_tenth_of_the_time_and_rests_half_a_second_at_most(took: float, rest: float) -> None:
    assert follower._rest(took) == pytest.approx(rest)
