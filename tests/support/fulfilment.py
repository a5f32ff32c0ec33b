"""A process for tests: it pays, ships and delivers every order by itself.

Each of its commands is refused if it comes a second time, so what is sent twice by mistake is seen. `placed` appends
orders, and the fixture `fulfilment` enters the process for a test.
"""

from datetime import timedelta
from decimal import Decimal
from typing import ClassVar
from uuid import UUID, uuid4

import pytest

from apps.eventlog import store
from apps.eventlog.events import RecordedEvent
from apps.eventlog.processes import Process, on, timer
from apps.eventlog.processing import running, tables
from apps.orders.events import OrderLine, OrderPaid, OrderPlaced
from apps.orders.write.commands import DeliverOrder, PayOrder, ShipOrder
from apps.users.events import UserRegistered

LINES = (OrderLine("A-1", 1, Decimal("1.00")),)
WHOLE = ["OrderPlaced", "OrderPaid", "OrderShipped", "OrderDelivered"]


class Fulfilment(Process):
    """Pays an order that is placed, ships one that is paid, and delivers it later."""

    travels: ClassVar[timedelta] = timedelta(hours=1)
    paid: int = 0

    @on(OrderPlaced)
    def placed(self, event: OrderPlaced, recorded: RecordedEvent) -> None:
        self.send(PayOrder(self.id, "by itself"))

    @on(OrderPaid)
    def was_paid(self, event: OrderPaid, recorded: RecordedEvent) -> None:
        self.paid += 1
        self.send(ShipOrder(self.id, "by itself"))
        self.wake("arrived", at=recorded.recorded_at + self.travels)

    @timer("arrived")
    def arrived(self) -> None:
        self.send(DeliverOrder(self.id))


del Process.registry["Fulfilment"]  # for the tests that ask for it


@pytest.fixture
def fulfilment(monkeypatch: pytest.MonkeyPatch) -> type[Fulfilment]:
    monkeypatch.setitem(Process.registry, "Fulfilment", Fulfilment)
    return Fulfilment


def place_orders(number: int) -> list[UUID]:
    """Append orders of one customer, who is registered, because a reactor cancels the orders of others."""
    customer, orders = uuid4(), [uuid4() for _ in range(number)]
    store.append(f"user-{customer}", [UserRegistered(f"{customer}@example.org", "Ann")], expected_version=0)
    for order in orders:
        store.append(f"order-{order}", [OrderPlaced(customer, "EUR", LINES)], expected_version=0)
    return orders


def history(order: UUID) -> list[str]:
    """What happened to an order, by the names of the events."""
    return [recorded.type.partition(".")[2] for recorded in store.read_stream(f"order-{order}")]


def commands_of(order: UUID) -> list[tuple[str, str]]:
    """The commands that were sent, or are to be, with their status."""
    rows = tables.commands().objects.filter(key=str(order)).order_by("number")
    return [(row.command.partition(".")[2], row.status) for row in rows]


def run(times: int = 6) -> None:
    """As often as a chain of events and commands needs."""
    for _ in range(times):
        running.run()
