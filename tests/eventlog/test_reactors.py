"""An event that comes twice changes nothing: commands of reactors have ids that follow from it."""

from collections.abc import Iterator
from contextlib import suppress
from contextvars import copy_context
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import pytest
from uuid_utils.compat import uuid7

from apps.eventlog import commands, store
from apps.eventlog.aggregates import RuleBroken
from apps.eventlog.commands import SYSTEM, Actor, Outcome, Request, derived_id
from apps.eventlog.delivery import projecting
from apps.eventlog.dispatch import dispatch
from apps.eventlog.events import RecordedEvent
from apps.eventlog.projectors import on
from apps.eventlog.reactors import Reactor
from apps.eventlog.repository import NotFound, PreconditionFailed, creating
from apps.orders.events import OrderLine, OrderPaid, OrderPlaced
from apps.orders.write.aggregates import Order
from apps.orders.write.commands import PayOrder, PlaceOrder, ShipOrder
from tests.support.fulfilment import history, place_orders
from tests.support.redelivery import everything_twice
from tests.support.threads import in_threads

LINES = (OrderLine("A-1", 1, Decimal("1.00")),)


@pytest.fixture
def reactor(worker_mode: None) -> Iterator[Any]:
    """`reactor(react)` is a reactor of orders that does this with each `OrderPaid`."""

    def make(react: Any) -> type[Reactor]:
        members = {"__module__": "apps.orders.reactors", "paid": on(OrderPaid)(react)}
        return type("Refills", (Reactor,), members)

    before = dict(Reactor.registry)
    yield make
    Reactor.registry.clear()
    Reactor.registry.update(before)


def deliver(kind: type[Reactor], times: int = 3) -> UUID:
    """Let it have one `OrderPaid` so many times; returns the order."""
    [order] = place_orders(1)
    projecting.catch_up("orders")
    store.append(f"order-{order}", [OrderPaid("p")], expected_version=1)
    *_, paid = store.read_stream(f"order-{order}")
    for _ in range(times):
        kind().react(paid)
    return order


def again(self: Reactor, event: OrderPaid, recorded: RecordedEvent) -> None:
    """What anybody would write first: it places a new order when one is paid."""
    [placed] = store.read_stream(recorded.stream, limit=1)
    dispatch(PlaceOrder(self.new_id(recorded), placed.event.customer_id, "EUR", LINES), cause=recorded)


def test_what_anybody_would_write_takes_effect_once_and_raises_nothing(reactor: Any) -> None:
    order = deliver(reactor(again))
    assert len(list(store.read_all(types=[OrderPlaced.type]))) == 2
    assert history(order) == ["OrderPlaced", "OrderPaid"]


def test_a_command_that_a_rule_would_refuse_the_second_time_is_recognised(reactor: Any) -> None:
    def ship(self: Reactor, event: OrderPaid, recorded: RecordedEvent) -> None:
        dispatch(ShipOrder(recorded.stream_id, "t"), cause=recorded)

    assert history(deliver(reactor(ship))) == ["OrderPlaced", "OrderPaid", "OrderShipped"]


def test_a_reactor_that_finds_less_to_do_the_second_time_still_does_it(reactor: Any) -> None:
    """Killed after the first of two commands, it finds the second alone; that is not taken for the first."""
    orders = place_orders(2)
    left = [[orders[0]], [orders[1]], []]

    def pay(self: Reactor, event: OrderPaid, recorded: RecordedEvent) -> None:
        for order in left.pop(0):
            dispatch(PayOrder(order, "p"), cause=recorded)

    deliver(reactor(pay))
    assert [history(order) for order in orders] == [["OrderPlaced", "OrderPaid"]] * 2


def test_the_same_command_twice_in_one_reaction_is_two(reactor: Any) -> None:
    order = uuid4()

    def pay(self: Reactor, event: OrderPaid, recorded: RecordedEvent) -> None:
        for _ in range(2):
            dispatch(PayOrder(order, "p"), cause=recorded)

    store.append(f"order-{order}", [OrderPlaced(uuid4(), "EUR", LINES)], expected_version=0)
    with pytest.raises(RuleBroken):
        deliver(reactor(pay))


def test_two_at_once_do_it_once(reactor: Any) -> None:
    def ship(self: Reactor, event: OrderPaid, recorded: RecordedEvent) -> None:
        dispatch(ShipOrder(recorded.stream_id, "t"), cause=recorded)

    kind, [order] = reactor(ship), place_orders(1)
    store.append(f"order-{order}", [OrderPaid("p")], expected_version=1)
    *_, paid = store.read_stream(f"order-{order}")
    in_threads(6, lambda _: kind().react(paid))
    assert history(order) == ["OrderPlaced", "OrderPaid", "OrderShipped"]


def test_the_guard_finds_a_reactor_that_appends_more(reactor: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def careless(self: Reactor, event: OrderPaid, recorded: RecordedEvent) -> None:
        [placed] = store.read_stream(recorded.stream, limit=1)
        dispatch(PlaceOrder(uuid4(), placed.event.customer_id, "EUR", LINES), cause=recorded)

    with everything_twice() as faults:
        deliver(reactor(careless), times=1)
    assert faults == ["Refills appends 1 events more if orders.OrderPaid comes again"]


def test_the_guard_finds_a_reactor_that_raises(reactor: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def raising(self: Reactor, event: OrderPaid, recorded: RecordedEvent) -> None:
        dispatch(ShipOrder(recorded.stream_id, "t"))  # without its cause

    with everything_twice() as faults, pytest.raises(RuleBroken):
        deliver(reactor(raising), times=1)
    [fault] = faults
    assert fault.startswith("Refills fails if orders.OrderPaid comes again: RuleBroken(")


def test_the_guard_passes_what_is_right(reactor: Any, delivered_twice: None) -> None:
    deliver(reactor(again), times=1)


def place(order: UUID, customer: UUID, actor: Actor = SYSTEM, version: int | None = None) -> Outcome:
    """What a handler does that places an order unless it is there, as `dispatch` would run it."""

    def handle() -> Outcome:
        commands.request.set(Request(actor, {}, version))
        commands.outcome.set(Outcome())
        with creating(Order, order, if_absent=True) as new:
            new.place(customer, "EUR", LINES)
        return commands.outcome.get()

    return copy_context().run(handle)


def test_what_is_created_if_absent_is_created_once_and_nobody_is_told_of_anothers() -> None:
    order, customer = uuid4(), uuid4()
    first = place(order, customer)
    store.append(f"order-{order}", [OrderPaid("p")], expected_version=1)
    assert (first.version, place(order, uuid4()).version) == (1, 2)
    assert history(order) == ["OrderPlaced", "OrderPaid"]
    stranger = uuid4()
    with pytest.raises(NotFound):
        place(order, stranger, Actor.customer(stranger))
    with pytest.raises(PreconditionFailed):
        place(order, customer, version=1)


def test_many_at_once_create_it_once() -> None:
    order, customer = uuid4(), uuid4()

    def work(_: int) -> None:
        with suppress(store.WrongExpectedVersion):  # `dispatch` runs the handler again
            place(order, customer)

    in_threads(6, work)
    assert history(order) == ["OrderPlaced"]


def test_a_derived_id_has_the_form_of_an_event_id_and_the_time_of_its_cause() -> None:
    cause = uuid7()
    one, same, other = (derived_id(cause, *names) for names in (("a", "b"), ("a", "b"), ("ab",)))
    assert one == same != other
    assert (one.version, one.variant, one.bytes[:6]) == (7, cause.variant, cause.bytes[:6])
