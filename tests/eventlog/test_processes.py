"""What a process declares is checked when its class is made, and what it does when it is done."""

from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from uuid import UUID, uuid4

import msgspec
import pytest

from apps.eventlog.processes import Process, on, timer
from apps.eventlog.registry import DuplicateName
from apps.orders.events import OrderPaid, OrderPlaced
from tests.support.fulfilment import LINES
from tests.support.process import ProcessScenario, recorded_event

pytestmark = pytest.mark.django_db(databases=[])

PLACED = OrderPlaced(uuid4(), "EUR", LINES)


@pytest.fixture(autouse=True)
def registry() -> Iterator[None]:
    before = dict(Process.registry)
    yield
    Process.registry.clear()
    Process.registry.update(before)


def test_state_of_any_type_comes_back_as_it_was() -> None:
    class Remembers(Process):
        total: Decimal = Decimal(0)
        since: datetime | None = None
        orders: dict[UUID, list[int]] = {}

        @on(OrderPlaced)
        def placed(self, event: OrderPlaced, recorded: object) -> None:
            self.total += Decimal("1.10")
            self.since = self.since or self.now
            self.orders[event.customer_id] = [*self.orders.get(event.customer_id, []), 1]

    scenario = ProcessScenario(Remembers).given(PLACED, PLACED)
    again = Remembers("k", scenario.state)
    assert (again.total, again.orders) == (Decimal("2.20"), {PLACED.customer_id: [1, 1]})
    assert again.since == scenario.now.replace(second=1)
    assert Remembers("k").orders == {}


def test_the_key_is_the_id_of_the_stream_or_a_field_of_the_event() -> None:
    class Follows(Process):
        @on(OrderPlaced, key="customer_id")
        def placed(self, event: OrderPlaced, recorded: object) -> None: ...

        @on(OrderPaid)
        def paid(self, event: OrderPaid, recorded: object) -> None: ...

    at = datetime(2026, 1, 1, tzinfo=UTC)
    assert Follows.key_of(recorded_event(PLACED, "order-1", 1, at)) == str(PLACED.customer_id)
    assert Follows.key_of(recorded_event(OrderPaid("p"), "order-1", 1, at)) == "1"


def test_state_that_is_not_declared_is_refused_at_once() -> None:
    class Forgets(Process):
        status = ""

        @on(OrderPlaced)
        def placed(self, event: OrderPlaced, recorded: object) -> None:
            self.status = "placed"

    with pytest.raises(AttributeError, match=r"does not declare status; write `status: str = \.\.\.`"):
        ProcessScenario(Forgets).when(PLACED)


def test_state_of_another_type_is_refused() -> None:
    class Mistypes(Process):
        number: int = 0

        @on(OrderPlaced)
        def placed(self, event: OrderPlaced, recorded: object) -> None:
            self.number = "one"  # type: ignore[assignment]

    with pytest.raises(msgspec.ValidationError):
        ProcessScenario(Mistypes).when(PLACED)


def test_a_field_needs_a_first_value_and_a_key_is_a_field() -> None:
    with pytest.raises(TypeError, match=r"Begins\.number needs a value"):

        class Begins(Process):
            number: int

    with pytest.raises(TypeError, match=r"Named\.name: every process has that already; choose another name"):
        type("Named", (Process,), {"__annotations__": {"name": str}})
    with pytest.raises(TypeError, match=r"Sends\.sent: every process has that already"):
        type("Sends", (Process,), {"sent": lambda process: None})
    with pytest.raises(TypeError, match="OrderPlaced has no field order_id"):
        on(OrderPlaced, key="order_id")


def test_two_methods_for_one_event_or_timer_are_refused() -> None:
    with pytest.raises(DuplicateName, match=r"one and two both take orders\.OrderPlaced"):

        class Twice(Process):
            @on(OrderPlaced)
            def one(self, event: OrderPlaced, recorded: object) -> None: ...

            @on(OrderPlaced)
            def two(self, event: OrderPlaced, recorded: object) -> None: ...

    with pytest.raises(DuplicateName, match="one and two both take the timer 'late'"):

        class Late(Process):
            @timer("late")
            def one(self) -> None: ...

            @timer("late")
            def two(self) -> None: ...


def test_a_timer_has_a_method_and_an_instant_with_a_zone() -> None:
    process = type("Wakes", (Process,), {"late": timer("late")(lambda self: None)})("k")
    for wake in (process.wake, lambda name, at: process.clear(name)):
        with pytest.raises(LookupError, match=r"marked @timer\('early'\)"):
            wake("early", at=datetime.now(UTC))
    with pytest.raises(ValueError, match="no time zone"):
        process.wake("late", at=datetime(2026, 1, 1))  # noqa: DTZ001
