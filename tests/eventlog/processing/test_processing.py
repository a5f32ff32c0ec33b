"""Processes take each event once, fire each timer once, and each of their commands takes effect once, in order."""

from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.db import OperationalError
from django.utils import timezone

from apps.eventlog import store
from apps.eventlog.delivery import checkpoints, claims
from apps.eventlog.delivery.dead_letters import open_dead_letters
from apps.eventlog.dispatch import dispatch
from apps.eventlog.models import Import
from apps.eventlog.processing import changes, firing, running, sending, settling, tables, taking
from apps.orders.events import OrderPaid, OrderPlaced
from apps.orders.write.commands import PayOrder
from tests.support.fulfilment import WHOLE, Fulfilment, commands_of, history, place_orders, run
from tests.support.threads import in_threads

pytestmark = pytest.mark.usefixtures("fulfilment")

SENT = [("PayOrder", "sent"), ("ShipOrder", "sent"), ("DeliverOrder", "sent")]
NOW = timedelta(0)


@pytest.fixture(autouse=True)
def only_fulfilment(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.PAYMENT_DEADLINE = None
    monkeypatch.setattr(claims, "GRACE", 0.0)


def arrive() -> None:
    """Let every timer be due."""
    tables.timers().objects.update(at=timezone.now())


def whole(number: int) -> list[UUID]:
    orders = place_orders(number)
    run()
    arrive()
    run(2)
    return orders


def letters() -> list[tuple[int, str]]:
    return [(letter.position, letter.status) for letter in open_dead_letters(tables.ALIAS)]


class Ended(BaseException):
    """The process ends here, as if by a kill."""


def test_a_chain_of_events_commands_and_timers_goes_to_its_end(delivered_twice: None) -> None:
    orders = whole(3)
    assert [history(order) for order in orders] == [WHOLE] * 3
    assert [commands_of(order) for order in orders] == [SENT] * 3
    assert {row.state["paid"] for row in tables.instances().objects.all()} == {1}
    assert (tables.timers().objects.count(), letters()) == (0, [])


def test_several_at_once_do_each_thing_once() -> None:
    orders = place_orders(12)
    in_threads(4, lambda number: run(8))
    arrive()
    in_threads(4, lambda number: run(3))
    run()
    arrive()
    run(3)
    assert [history(order) for order in orders] == [WHOLE] * 12
    assert letters() == []


@pytest.mark.parametrize("point", ["processed", "fired", "sent"])
@pytest.mark.parametrize("batch", [1, 200])
def test_what_ends_in_the_middle_is_done_once_afterwards(
    point: str, batch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends = iter([False, True] * 3)

    def end(name: str) -> None:
        if name == point and next(ends, False):
            raise Ended

    for module in (taking, firing, sending):
        monkeypatch.setattr(module, "BATCH", batch)
        monkeypatch.setattr(module, "failpoint", end)
    monkeypatch.setattr(sending, "TURN", NOW)
    orders = place_orders(4)
    for _ in range(12):
        try:
            run(2)
        except Ended:
            continue
        arrive()
    assert [history(order) for order in orders] == [WHOLE] * 4
    assert {row.state["paid"] for row in tables.instances().objects.all()} == {1}
    assert letters() == []


def test_an_event_that_fails_parks_its_key_and_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    bad, good = place_orders(2)
    take = Fulfilment.placed

    def fails(process: Fulfilment, event: OrderPlaced, recorded: Any) -> None:
        if process.id == bad:
            process.paid = 9
            raise ValueError("no such \0 order")
        take(process, event, recorded)

    with monkeypatch.context() as broken:
        broken.setattr(Fulfilment, "placed", fails)
        run()
        dispatch(PayOrder(bad, "by hand"))
        run()
    assert history(good) == WHOLE[:3]
    placed, paid = tables.dead_letters().objects.order_by("position")
    assert (placed.status, paid.status, placed.key) == ("failed", "waiting", str(bad))
    assert placed.error == "ValueError: no such  order"
    assert tables.instances().objects.filter(key=str(bad)).count() == 0
    assert settling.retry(Fulfilment, f"order-{bad}", by="ops") == (2, "")
    run()
    # Somebody has paid, so that command is refused, and the next one of this key waits behind it.
    assert (history(bad), commands_of(bad)) == (WHOLE[:2], [("PayOrder", "waiting"), ("ShipOrder", "waiting")])


def test_a_skipped_event_stays_out_also_if_it_comes_again(monkeypatch: pytest.MonkeyPatch) -> None:
    [order] = place_orders(1)
    with monkeypatch.context() as broken:
        broken.setattr(Fulfilment, "placed", lambda *_: 1 / 0)
        run()
    [(position, _)] = letters()
    assert settling.skip(Fulfilment, position, by="ops", reason="paid by hand")
    checkpoints.checkpoint_model(tables.ALIAS).objects.update(position=0)
    run()
    assert (history(order), commands_of(order), letters()) == (["OrderPlaced"], [], [])


def test_a_timer_that_fails_is_set_aside_and_what_comes_later_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    [order] = place_orders(1)
    run()
    arrive()
    with monkeypatch.context() as broken:
        broken.setattr(Fulfilment, "arrived", lambda self: 1 / 0)
        run()
        store.append(f"order-{order}", [OrderPaid("again")], expected_version=3)
        run()
    assert [(letter.timer, letter.status) for letter in tables.dead_letters().objects.order_by("position", "id")] == [
        ("arrived", "failed"),
        ("", "waiting"),
    ]
    assert settling.retry(Fulfilment, f"order-{order}", by="ops") == (2, "")
    assert tables.instances().objects.get().state == {"paid": 2}
    assert not letters()


def test_a_timer_that_ends_the_process_is_set_aside_after_three(monkeypatch: pytest.MonkeyPatch) -> None:
    killer, other = place_orders(2)
    run()
    arrive()
    fire, ended = Fulfilment.arrived, 0

    def end(process: Fulfilment) -> None:
        if process.id == killer:
            raise Ended
        fire(process)

    monkeypatch.setattr(Fulfilment, "arrived", end)
    for _ in range(8):
        try:
            run()
        except Ended:
            ended += 1
    assert ended in (3, 4)  # the first time together with the other one
    assert history(other) == WHOLE
    [letter] = tables.dead_letters().objects.all()
    assert (letter.key, letter.timer, letter.error) == (str(killer), "arrived", "ProcessEnded: 3 times")


def test_an_event_that_ends_the_process_is_set_aside_after_three(monkeypatch: pytest.MonkeyPatch) -> None:
    killer, other = place_orders(2)
    take, ended = Fulfilment.placed, 0

    def end(process: Fulfilment, event: OrderPlaced, recorded: Any) -> None:
        if process.id == killer:
            raise Ended
        take(process, event, recorded)

    monkeypatch.setattr(Fulfilment, "placed", end)
    for _ in range(8):
        try:
            run()
        except Ended:
            ended += 1
    assert ended in (3, 4)
    assert (history(other), history(killer)) == (WHOLE[:3], WHOLE[:1])
    [letter] = tables.dead_letters().objects.all()
    assert (letter.key, letter.error) == (str(killer), "ProcessEnded: 3 times")


def test_what_cannot_be_stored_is_set_aside_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    bad, good = place_orders(2)
    take = changes.Changes.save

    def save(self: changes.Changes) -> None:
        if str(bad) in self.changed:
            raise ValueError("the database does not take it")
        take(self)

    monkeypatch.setattr(changes.Changes, "save", save)
    run()
    assert (history(good), history(bad)) == (WHOLE[:3], WHOLE[:1])
    assert [letter.error for letter in tables.dead_letters().objects.all()] == [
        "ValueError: the database does not take it"
    ]


def test_a_refused_command_is_tried_again_and_then_set_aside_and_later_ones_wait(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    [order, other] = place_orders(2)
    store.append(f"order-{order}", [OrderPaid("by hand")], expected_version=1)  # so PayOrder will be refused
    run()
    assert commands_of(order) == [("PayOrder", "waiting"), ("ShipOrder", "waiting")]
    assert history(other) == WHOLE[:3]
    rows = tables.commands().objects
    for _ in range(sending.ATTEMPTS):
        rows.filter(status="waiting").update(try_at=timezone.now())
        running.run()
    pay = rows.get(key=str(order), command="orders.PayOrder")
    assert (pay.status, pay.attempts) == ("failed", sending.ATTEMPTS)
    [letter] = tables.dead_letters().objects.all()
    assert (letter.command_id, letter.error) == (pay.command_id, "RuleBroken: only a placed order can be paid")
    assert settling.retry(Fulfilment, letter.stream, by="ops") == (1, "")
    run()
    assert rows.get(pk=pay.pk).attempts == 1
    rows.filter(pk=pay.pk).update(status="failed")
    tables.dead_letters().objects.update(status="failed")
    assert settling.skip(Fulfilment, letter.position, by="ops", reason="paid by hand")
    run()
    assert commands_of(order) == [("PayOrder", "skipped"), ("ShipOrder", "sent")]
    assert history(order) == WHOLE[:3]


def test_a_command_that_is_tried_waits_with_growing_pauses() -> None:
    [order] = place_orders(1)
    store.append(f"order-{order}", [OrderPaid("by hand")], expected_version=1)
    pauses = []
    for _ in range(sending.ATTEMPTS - 1):
        before = timezone.now()
        running.run()
        row = tables.commands().objects.get(command="orders.PayOrder")
        pauses.append(round((row.try_at - before).total_seconds(), 0))
        tables.commands().objects.update(try_at=before)
    assert pauses == sorted(pauses)
    assert pauses[0] == 1
    assert sum(pauses) == pytest.approx(600, rel=0.4)


def test_a_database_that_is_away_is_no_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    [order] = place_orders(1)

    def away(*_: Any, **__: Any) -> Any:
        raise OperationalError("connection refused")

    with monkeypatch.context() as broken:
        broken.setattr(sending, "dispatch", away)
        for _ in range(3):
            with pytest.raises(OperationalError):
                run(1)
            tables.commands().objects.update(try_at=timezone.now())
    assert tables.commands().objects.get().attempts == 0
    whole_history = history(order)
    run()
    assert (whole_history, history(order)) == (WHOLE[:1], WHOLE[:3])


def test_imported_events_lead_to_nothing() -> None:
    old = place_orders(1)
    Import.objects.create(first=1, last=2)
    new = place_orders(1)
    run()
    assert [history(order) for order in [*old, *new]] == [WHOLE[:1], WHOLE[:3]]


def test_a_command_sent_twice_at_once_takes_effect_once() -> None:
    """Two senders have the same command at the same time, and neither has noted the outcome."""
    orders = place_orders(6)
    for kind in tables.kinds():
        taking.catch_up(kind, store.safe_place())
    rows = list(tables.commands().objects.all())
    in_threads(4, lambda number: [sending._dispatch(row, sending._cause(row)) for row in rows])
    assert [history(order) for order in orders] == [WHOLE[:2]] * 6


def test_a_parked_keys_timer_does_not_fire(monkeypatch: pytest.MonkeyPatch) -> None:
    [order] = place_orders(1)
    run()
    with monkeypatch.context() as broken:
        broken.setattr(Fulfilment, "was_paid", lambda *_: 1 / 0)
        store.append(f"order-{order}", [OrderPaid("again")], expected_version=3)
        run()
    arrive()
    run()
    assert history(order)[-1] == "OrderPaid"
    assert tables.timers().objects.count() == 1


def test_ten_thousand_pending_timers_are_no_work() -> None:
    """Looking for what is due takes an index; so does the next command, however many were sent."""
    about = {"process": "Fulfilment", "name": "arrived", "at": timezone.now() + timedelta(days=1)}
    timers = [tables.timers()(id=n, key=n, position=1, event_id=uuid4(), **about) for n in map(str, range(10_000))]
    tables.timers().objects.bulk_create(timers, batch_size=1000)
    orders = place_orders(1)
    run()
    arrive_one = tables.timers().objects.filter(key=str(orders[0]))
    arrive_one.update(at=timezone.now())
    began = timezone.now()
    running.run()
    assert (timezone.now() - began).total_seconds() < 1
    assert history(orders[0]) == WHOLE
