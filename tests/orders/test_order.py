"""The order decides: placed -> paid -> shipped -> delivered, cancelled from placed or paid."""

from decimal import Decimal
from uuid import uuid4

import pytest

from apps.eventlog.commands import Actor
from apps.eventlog.events import DomainEvent
from apps.eventlog.repository import Forbidden, NotFound
from apps.orders.events import OrderCancelled, OrderDelivered, OrderLine, OrderPaid, OrderPlaced, OrderShipped
from apps.orders.write.commands import (
    CancelOrder,
    CancelUnpaidOrder,
    DeliverOrder,
    PayOrder,
    PlaceOrder,
    ShipOrder,
)
from tests.support.scenario import Scenario

CUSTOMER = uuid4()
LINES = (OrderLine("A-1", 2, Decimal("12.50")),)
PLACED = OrderPlaced(CUSTOMER, "EUR", LINES)
PAID, SHIPPED, DELIVERED, CANCELLED = (
    OrderPaid("p-1"),
    OrderShipped("t-1"),
    OrderDelivered(),
    OrderCancelled("why", "requested"),
)


def test_a_placed_order_can_be_paid(order: Scenario) -> None:
    order.given(PLACED).when(PayOrder(order.id, "p-1")).then(PAID)


def test_a_paid_order_can_be_shipped(order: Scenario) -> None:
    order.given(PLACED, PAID).when(ShipOrder(order.id, "t-1")).then(SHIPPED)


def test_a_shipped_order_can_be_delivered(order: Scenario) -> None:
    order.given(PLACED, PAID, SHIPPED).when(DeliverOrder(order.id)).then(DELIVERED)


@pytest.mark.parametrize("history", [(PLACED,), (PLACED, PAID)])
def test_a_placed_or_paid_order_can_be_cancelled(order: Scenario, history: tuple[DomainEvent, ...]) -> None:
    order.given(*history).when(CancelOrder(order.id, "why")).then(CANCELLED)


@pytest.mark.parametrize("history", [(PLACED, PAID), (PLACED, CANCELLED), (PLACED, PAID, SHIPPED)])
def test_only_a_placed_order_can_be_paid(order: Scenario, history: tuple[DomainEvent, ...]) -> None:
    order.given(*history).when(PayOrder(order.id, "p-2")).then_refused("only a placed order can be paid")


@pytest.mark.parametrize("history", [(PLACED,), (PLACED, CANCELLED), (PLACED, PAID, SHIPPED)])
def test_only_a_paid_order_can_be_shipped(order: Scenario, history: tuple[DomainEvent, ...]) -> None:
    order.given(*history).when(ShipOrder(order.id, "t-2")).then_refused("only a paid order can be shipped")


@pytest.mark.parametrize("history", [(PLACED,), (PLACED, PAID), (PLACED, PAID, SHIPPED, DELIVERED)])
def test_only_a_shipped_order_can_be_delivered(order: Scenario, history: tuple[DomainEvent, ...]) -> None:
    order.given(*history).when(DeliverOrder(order.id)).then_refused("only a shipped order can be delivered")


@pytest.mark.parametrize("history", [(PLACED, PAID, SHIPPED), (PLACED, CANCELLED)])
def test_a_shipped_or_cancelled_order_cannot_be_cancelled(order: Scenario, history: tuple[DomainEvent, ...]) -> None:
    order.given(*history).when(CancelOrder(order.id, "no")).then_refused("only a placed or paid order")


def test_an_unpaid_order_is_cancelled_for_its_inactive_customer(order: Scenario) -> None:
    order.given(PLACED).when(CancelUnpaidOrder(order.id, "why", "requested")).then(CANCELLED)


@pytest.mark.parametrize("history", [(PLACED, PAID), (PLACED, CANCELLED)])
def test_a_paid_or_cancelled_order_is_left_as_it_is(order: Scenario, history: tuple[DomainEvent, ...]) -> None:
    order.given(*history).when(CancelUnpaidOrder(order.id, "why", "requested")).then()


def test_an_unknown_customer_cannot_order(order: Scenario) -> None:
    order.when(PlaceOrder(order.id, uuid4(), "EUR", LINES)).then_refused("only an active customer can place an order")


def test_what_is_anothers_is_not_found(order: Scenario) -> None:
    stranger = Actor.customer(uuid4())
    order.given(PLACED).when(PayOrder(order.id, "p"), actor=stranger).then_refused("not found", NotFound)


def test_a_customer_does_not_ship(order: Scenario) -> None:
    customer = Actor.customer(CUSTOMER)
    order.given(PLACED, PAID).when(ShipOrder(order.id, "t"), actor=customer).then_refused("only staff", Forbidden)


def test_the_total_is_computed_exactly() -> None:
    lines = (OrderLine("A", 1_000_000, Decimal("9999999999.99")), OrderLine("B", 1, Decimal("0.01")))
    assert OrderPlaced(CUSTOMER, "EUR", lines).total == Decimal("9999999999990000.01")
