"""An order that is not paid in time is cancelled, and no other."""

from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.utils import timezone

from apps.eventlog import store
from apps.eventlog.dispatch import dispatch
from apps.eventlog.processing import running
from apps.orders.events import OrderCancelled, OrderPaid, OrderPlaced
from apps.orders.write.commands import CancelUnpaidOrder, PayOrder
from apps.processes.models import Instance, OutgoingCommand, Timer
from apps.processes.payment_deadline import PaymentDeadline
from tests.support.fulfilment import LINES, history, place_orders, run
from tests.support.process import ProcessScenario

PLACED = OrderPlaced(uuid4(), "EUR", LINES)
WHY = ("the order was not paid in time", "payment_deadline")


@pytest.fixture
def deadline(settings: Any) -> ProcessScenario:
    settings.PAYMENT_DEADLINE = timedelta(days=14)
    return ProcessScenario(PaymentDeadline)


def test_a_placed_order_has_the_deadline_to_be_paid(deadline: ProcessScenario) -> None:
    deadline.when(PLACED).then_sends().then_wakes(deadline.now + timedelta(days=14))


@pytest.mark.parametrize("event", [OrderPaid("p"), OrderCancelled("changed my mind", "requested")])
def test_a_paid_or_cancelled_order_waits_for_nothing(deadline: ProcessScenario, event: Any) -> None:
    deadline.given(PLACED).when(event).then_sends().then_clears("expired")


def test_an_order_that_is_not_paid_in_time_is_cancelled(deadline: ProcessScenario) -> None:
    deadline.given(PLACED).when("expired").then_sends(CancelUnpaidOrder(deadline.id, *WHY)).then_clears()


def test_a_deadline_that_is_off_cancels_nothing(deadline: ProcessScenario, settings: Any) -> None:
    deadline.given(PLACED)
    settings.PAYMENT_DEADLINE = None
    deadline.when("expired").then_waits()
    ProcessScenario(PaymentDeadline).when(PLACED).then_waits()


def test_only_the_unpaid_order_is_cancelled_and_once(settings: Any, delivered_twice: None) -> None:
    settings.PAYMENT_DEADLINE = timedelta(0)
    unpaid, paid = place_orders(2)
    dispatch(PayOrder(paid, "p"))
    run()
    assert history(unpaid) == ["OrderPlaced", "OrderCancelled"]
    assert history(paid) == ["OrderPlaced", "OrderPaid"]
    *_, cancelled = store.read_stream(f"order-{unpaid}")
    assert cancelled.event == OrderCancelled(*WHY)  # type: ignore[arg-type]
    placed, *_ = store.read_stream(f"order-{unpaid}")
    assert cancelled.metadata["causation_id"] == str(placed.event_id)
    assert not Timer.objects.exists()
    assert [sent.status for sent in OutgoingCommand.objects.all()] == ["sent"]


def test_a_payment_in_the_log_counts_even_if_the_timer_is_due_before_the_process_comes_to_it(settings: Any) -> None:
    settings.PAYMENT_DEADLINE = timedelta(days=1)
    [order] = place_orders(1)
    running.run()
    Timer.objects.update(at=timezone.now() - timedelta(hours=1))  # nothing was running for a day
    dispatch(PayOrder(order, "p"))
    running.run()
    assert (Timer.objects.count(), OutgoingCommand.objects.count()) == (0, 0)


def test_an_order_without_a_deadline_leaves_nothing_behind(settings: Any) -> None:
    settings.PAYMENT_DEADLINE = None
    place_orders(1)
    running.run()
    assert not Instance.objects.exists()
