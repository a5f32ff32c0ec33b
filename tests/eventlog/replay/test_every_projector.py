"""Every projector of every service bears every way of delivery; the fixture is shown to find one that does not."""

import time
from collections.abc import Callable

import pytest

from apps.eventlog import store
from apps.eventlog.events import RecordedEvent
from apps.eventlog.projectors import Projector
from apps.orders.models import Order
from apps.orders.read.projectors import OrderProjector
from apps.users.events import UserRegistered
from apps.users.models import User
from apps.users.read.projectors import UserProjector
from tests.support.history import make_history
from tests.support.projection import Hardened
from tests.support.samples import make_samples


@pytest.mark.parametrize("kind", Projector.registry.values(), ids=Projector.registry)
def test_a_projector_bears_every_way_of_delivery(kind: type[Projector], hardened: Hardened) -> None:
    make_history(users=4, commands=30)
    if not any(list(store.read_all(category=category, limit=1)) for category in kind.categories):
        make_samples(kind)
    hardened(kind)


def test_samples_of_its_events_are_enough_to_try_a_projector(hardened: Hardened) -> None:
    make_samples(OrderProjector)
    hardened(OrderProjector)
    assert set(Order.objects.values_list("status", flat=True)) == set(Order.Status)


FAULTS: dict[str, Callable[[list[int], int], str]] = {
    "counts what it is given": lambda given, position: str(len(given)),
    "leaves out what it has seen": lambda given, position: "again" if given.count(position) > 1 else "",
    "reads the clock": lambda given, position: str(time.monotonic_ns()),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_a_projector_that_is_more_than_a_fold_is_found(
    fault: Callable[[list[int], int], str], hardened: Hardened, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_history(users=3, commands=10)
    healthy = UserProjector.registered
    given: list[int] = []

    def registered(self: UserProjector, row: User, event: UserRegistered, recorded: RecordedEvent) -> None:
        given.append(recorded.position)
        healthy(self, row, event, recorded)
        row.email += fault(given, recorded.position)

    monkeypatch.setattr(UserProjector, "registered", registered)
    with pytest.raises(AssertionError, match=r"not those of a replay|second delivery|count twice"):
        hardened(UserProjector)
