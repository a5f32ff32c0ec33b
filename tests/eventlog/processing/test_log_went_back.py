"""The log is put back to an older state: processes stop and say so, and one replay lets them go on, each thing once."""

import random
from collections.abc import Iterator
from io import StringIO
from typing import Any
from uuid import UUID

import pytest
from django.core.management import CommandError, call_command
from django.db import connections
from django.utils import timezone

from apps.eventlog import store
from apps.eventlog.delivery import identity
from apps.eventlog.delivery.dead_letters import open_dead_letters
from apps.eventlog.processing import running, tables
from tests.support.erase import erase
from tests.support.fulfilment import WHOLE, history, place_orders, run
from tests.support.older_log import SavedLog, save_log

pytestmark = pytest.mark.usefixtures("fulfilment", "worker_mode")


@pytest.fixture(autouse=True)
def no_deadline(settings: Any) -> None:
    settings.PAYMENT_DEADLINE = None


@pytest.fixture
def saved() -> Iterator[list[SavedLog]]:
    states: list[SavedLog] = []
    yield states
    for state in states:
        state.forget()


def replay() -> None:
    call_command("replay_events", no_progress=True, stdout=StringIO())


def to_the_end() -> None:
    for _ in range(3):
        run(3)
        tables.timers().objects.update(at=timezone.now())
        tables.commands().objects.filter(status="waiting").update(try_at=timezone.now())
    run(2)


def orders_in_log() -> list[UUID]:
    return [recorded.stream_id for recorded in store.read_all(types=["orders.OrderPlaced"])]


def test_what_the_log_has_lost_is_sent_again_and_what_it_never_had_is_forgotten(saved: list[SavedLog]) -> None:
    kept = place_orders(1)
    saved.append(save_log())
    run()
    lost = place_orders(2)
    run()
    saved[0].put_back()
    new = place_orders(3)
    run()
    assert "Fulfilment" in identity.stopped(tables.ALIAS)
    assert [history(order) for order in kept + new] == [WHOLE[:1]] * 4
    with pytest.raises(CommandError, match="Fulfilment of processes"):
        call_command("run_projectors", once=True, stdout=StringIO())
    replay()
    to_the_end()
    assert identity.stopped(tables.ALIAS) == []
    assert [history(order) for order in [*kept, *lost, *new]] == [WHOLE, [], [], WHOLE, WHOLE, WHOLE]
    rows = tables.commands().objects
    assert not rows.filter(key__in=map(str, lost)).exclude(status="sent").exists()
    assert list(open_dead_letters(tables.ALIAS)) == []


def test_only_the_effect_of_a_command_is_lost(saved: list[SavedLog]) -> None:
    """The process has taken nothing that is gone; that its command took effect is gone."""
    [order] = place_orders(1)
    running.run()  # takes the order, and pays it
    saved.append(save_log())
    running.run()  # takes the payment, and ships
    saved[0].put_back()
    assert history(order) == WHOLE[:2]
    running.run()
    assert "Fulfilment" in identity.stopped(tables.ALIAS)
    replay()
    to_the_end()
    assert history(order) == WHOLE


@pytest.mark.parametrize(
    "seeds", [range(3), pytest.param(range(3, 60), marks=[pytest.mark.nightly, pytest.mark.timeout(900)])]
)
def test_any_history_that_went_back_ends_well(seeds: range, saved: list[SavedLog]) -> None:
    for seed in seeds:
        chance = random.Random(seed)
        for alias in connections:
            erase(alias)
        identity._stopped.clear()
        states = []
        for _ in range(chance.randint(2, 4)):
            place_orders(chance.randint(1, 3))
            for _ in range(chance.randint(0, 3)):
                running.run()
            if chance.random() < 0.5:
                tables.timers().objects.update(at=timezone.now())
            states.append(save_log())
        saved += states
        run(chance.randint(0, 3))
        chance.choice(states).put_back()
        place_orders(chance.randint(0, 3))
        run(chance.randint(0, 2))
        replay()
        to_the_end()
        assert {tuple(history(order)) for order in orders_in_log()} == {tuple(WHOLE)}, seed
        assert list(open_dead_letters(tables.ALIAS)) == [], seed
