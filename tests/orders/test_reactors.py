"""A deactivated customer's unpaid orders are cancelled, once each, however late or often the reactor runs."""

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from uuid import UUID, uuid4

import pytest
from django.core.management import call_command
from django.db import OperationalError, connections

from apps.eventlog import store
from apps.eventlog.delivery import checkpoints, claims, inline, projecting, reacting
from apps.eventlog.delivery.checkpoints import Reached
from apps.eventlog.delivery.trail import Mark
from apps.eventlog.dispatch import dispatch
from apps.eventlog.events import DomainEvent, RecordedEvent
from apps.eventlog.models import Import
from apps.orders.events import OrderCancelled, OrderDelivered, OrderLine, OrderPlaced
from apps.orders.models import Checkpoint, DeadLetter, Order
from apps.orders.reactors import CancelOrdersOfInactiveCustomers
from apps.orders.write.commands import PayOrder, PlaceOrder
from apps.users.write.commands import DeactivateUser, ReactivateUser, RegisterUser
from tests.support.fold import folded, projected

REACTOR = CancelOrdersOfInactiveCustomers
LINES = (OrderLine("A-1", 1, Decimal("1.00")),)


def customer_with_orders(number: int) -> tuple[UUID, list[UUID]]:
    customer, orders = uuid4(), [uuid4() for _ in range(number)]
    dispatch(RegisterUser(customer, f"{customer}@example.org", "Ann"))
    for order in orders:
        dispatch(PlaceOrder(order, customer, "EUR", LINES))
    return customer, orders


def run() -> None:
    projecting.catch_up("orders")
    reacting.catch_up("orders")
    projecting.catch_up("orders")


def cancellations(order: UUID) -> int:
    return sum(isinstance(recorded.event, OrderCancelled) for recorded in store.read_stream(f"order-{order}"))


def test_unpaid_orders_are_cancelled_and_paid_ones_stand(delivered_twice: None) -> None:
    customer, [unpaid, paid] = customer_with_orders(2)
    dispatch(PayOrder(paid, "p"))
    dispatch(DeactivateUser(customer, "left"))
    assert Order.objects.get(id=unpaid).status == "cancelled"
    assert Order.objects.get(id=paid).status == "paid"


def test_anothers_orders_stand(delivered_twice: None) -> None:
    customer, _ = customer_with_orders(1)
    _, [other] = customer_with_orders(1)
    dispatch(DeactivateUser(customer, "left"))
    assert Order.objects.get(id=other).status == "placed"


def test_each_is_cancelled_once_however_often_the_reactor_runs(delivered_twice: None) -> None:
    customer, orders = customer_with_orders(3)
    dispatch(DeactivateUser(customer, "left"))
    head = store.head()
    Checkpoint.objects.filter(name="CancelOrdersOfInactiveCustomers").update(position=0)
    run()
    assert store.head() == head
    assert [cancellations(order) for order in orders] == [1, 1, 1]


def test_an_order_that_cannot_be_read_does_not_keep_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    customer, orders = customer_with_orders(3)
    store.append(f"order-{orders[1]}", [OrderDelivered()], expected_version=1)
    with monkeypatch.context() as other_code:
        other_code.delitem(DomainEvent.types, OrderDelivered.type)
        dispatch(DeactivateUser(customer, "left"))
        found = Order.objects.filter(status="cancelled").values_list("id", flat=True)
        assert set(found) == {orders[0], orders[2]}
    letter = DeadLetter.objects.get(projector=CancelOrdersOfInactiveCustomers.name)
    assert (letter.stream, letter.error.partition(":")[0]) == (f"user-{customer}", "UnknownEvent")


def test_an_order_that_slipped_in_is_cancelled(worker_mode: None, delivered_twice: None) -> None:
    customer, order = uuid4(), uuid4()
    dispatch(RegisterUser(customer, "ann@example.org", "Ann"))
    run()
    dispatch(DeactivateUser(customer, "left"))
    dispatch(PlaceOrder(order, customer, "EUR", LINES))  # the copy of the customers is still the old one
    run()
    assert cancellations(order) == 1


def test_an_order_of_a_customer_who_came_back_stands(worker_mode: None) -> None:
    customer, before, after = uuid4(), uuid4(), uuid4()
    dispatch(RegisterUser(customer, "ann@example.org", "Ann"))
    run()
    dispatch(PlaceOrder(before, customer, "EUR", LINES))
    dispatch(DeactivateUser(customer, "left"))
    dispatch(ReactivateUser(customer))
    dispatch(PlaceOrder(after, customer, "EUR", LINES))
    run()
    assert (cancellations(before), cancellations(after)) == (1, 0)


def test_the_cause_goes_with_the_cancellation() -> None:
    customer, [order] = customer_with_orders(1)
    dispatch(DeactivateUser(customer, "left"))
    *_, deactivated = store.read_stream(f"user-{customer}")
    *_, cancelled = store.read_stream(f"order-{order}")
    assert cancelled.metadata["causation_id"] == str(deactivated.event_id)
    assert cancelled.metadata["correlation_id"] == deactivated.metadata["correlation_id"]
    assert cancelled.metadata["actor"] == "system"


def test_a_reactor_that_comes_too_late_to_an_event_leaves_no_attempt_behind() -> None:
    """Another process has answered it and gone on; an attempt left at its new place would count against another."""
    customer_with_orders(2)
    *_, first, second = store.read_all()
    known = {REACTOR.name: Reached(first.position - 1, store.safe_place())}
    Checkpoint.objects.filter(name=REACTOR.name).update(position=second.position)
    for _ in range(4):
        reacting._react(REACTOR(), [first], reacting._Steps.of(REACTOR, known), lambda: False)
    assert Checkpoint.objects.get(name=REACTOR.name).attempts == 0
    assert projected()["set aside"] == {}


@pytest.fixture
def moves(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The positions to which the checkpoint of the reactor moves, although the machine may be slow."""
    found: list[int] = []
    move = claims.leave_mark

    def leave_mark(service: str, name: str, trail: Sequence[Mark]) -> None:
        found.append(trail[0].position)
        move(service, name, trail)

    monkeypatch.setattr(claims, "leave_mark", leave_mark)
    monkeypatch.setattr(reacting, "RUN", math.inf)
    return found


def test_many_events_are_one_attempt(worker_mode: None, moves: list[int]) -> None:
    customer_with_orders(5)
    run()
    assert moves == [store.head()]


def test_each_event_of_an_attempt_after_one_that_died_is_an_attempt_of_its_own(
    worker_mode: None, moves: list[int]
) -> None:
    customer_with_orders(3)
    checkpoints.enter("orders")
    Checkpoint(name=REACTOR.name, attempts=1).save()
    run()
    assert moves == [store.head() - 2, store.head()]


def test_events_around_imported_ones_are_answered(worker_mode: None, moves: list[int]) -> None:
    customer, orders = customer_with_orders(4)
    dispatch(DeactivateUser(customer, "left"))
    third = store.position_of(f"order-{orders[2]}")
    Import.objects.create(first=third, last=third)
    Import.objects.create(first=store.head(), last=store.head())  # of the deactivation, so only the orders tell
    run()
    assert [cancellations(order) for order in orders] == [1, 1, 0, 1]


def test_slow_reactions_are_remembered_one_by_one(
    worker_mode: None, moves: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a crash would have many of them done again."""
    monkeypatch.setattr(reacting, "RUN", 0.0)
    customer_with_orders(3)
    run()
    assert moves == [store.head() - 2, store.head() - 1, store.head()]


def test_what_has_been_answered_when_a_database_fails_is_not_answered_again(
    worker_mode: None, moves: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    customer_with_orders(3)
    last, seen = store.head(), list[int]()

    def react(_: object, recorded: RecordedEvent) -> None:
        seen.append(recorded.position)
        if recorded.position == last and seen.count(last) == 1:
            raise OperationalError("away")

    monkeypatch.setattr(REACTOR, "react", react)
    with pytest.raises(OperationalError):
        run()
    assert Checkpoint.objects.get(name=REACTOR.name).attempts == 0
    run()
    assert (seen, moves) == ([last - 2, last - 1, last, last], [last - 1, last])


def test_a_replay_runs_no_reactor() -> None:
    customer_with_orders(1)
    Checkpoint.objects.filter(name="CancelOrdersOfInactiveCustomers").update(position=store.head())
    store.append(f"order-{uuid4()}", [OrderPlaced(uuid4(), "EUR", LINES)], expected_version=0)
    head = store.head()
    call_command("replay_events", "--no-progress", verbosity=0)
    assert store.head() == head


def test_many_at_once_leave_no_reaction_behind() -> None:
    """Threads that find projectors and reactors busy leave them the work; it must be done all the same."""
    customers = [customer_with_orders(2) for _ in range(6)]
    paid = [customer_with_orders(1)[1][0] for _ in range(6)]

    def run(number: int) -> None:
        try:
            if number % 2:
                dispatch(PayOrder(paid[number // 2], "p"))
            else:
                dispatch(DeactivateUser(customers[number // 2][0], "left"))
        finally:
            connections.close_all()

    with ThreadPoolExecutor(12) as pool:
        list(pool.map(run, range(12)))
    assert [cancellations(order) for _, orders in customers for order in orders] == [1] * 12
    assert projected() == folded()


@pytest.mark.postgres
def test_an_event_behind_a_writers_mark_is_waited_for_with_growing_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    customer, [order] = customer_with_orders(1)
    looks: list[int] = []
    drain = reacting._drain
    monkeypatch.setattr(reacting, "_drain", lambda *arguments: looks.append(1) or drain(*arguments))
    monkeypatch.setattr(inline, "PATIENCE", 0.1)  # for which the command would wait for rows that the mark hides
    other = connections["eventlog"].copy()
    try:
        with other.cursor() as cursor:
            cursor.execute("BEGIN")
            cursor.execute("SELECT eventlog_mark()")
            dispatch(DeactivateUser(customer, "left"))  # visible, and not safe to follow
            looks.clear()
            reacting.catch_up("orders")
            assert 3 < len(looks) < 20
            assert cancellations(order) == 0
            cursor.execute("ROLLBACK")
    finally:
        other.close()
    run()
    assert cancellations(order) == 1
