"""A name is taken once: the second class is refused where it is made, with the places of both."""

import subprocess
import sys
import types
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from apps.eventlog import upcasting
from apps.eventlog.aggregates import Aggregate
from apps.eventlog.events import DomainEvent
from apps.eventlog.processes import Process
from apps.eventlog.projectors import Projector, RowProjector, on
from apps.eventlog.reactors import Reactor
from apps.eventlog.registry import DuplicateName, Registry
from apps.orders.events import OrderPaid
from apps.orders.models import Order
from tests.test_settings import STRONG, manage

pytestmark = pytest.mark.django_db(databases=[])

TWICE = {
    "event": (DomainEvent.types, "orders.OrderPaid", "class OrderPaid(DomainEvent): pass"),
    "aggregate": (Aggregate.registry, "order", "class Purchase(Aggregate): category = 'order'"),
    "aggregate by inheritance": (Aggregate.registry, "order", "class Bulk(Aggregate.registry['order']): pass"),
    "projector": (Projector.registry, "OrderProjector", "class OrderProjector(Projector): models = (Order,)"),
    "row projector": (
        Projector.registry,
        "OrderProjector",
        "class OrderProjector(RowProjector): model, category = Order, 'bill'",
    ),
    "reactor": (Reactor.registry, "Forgetting", "class Forgetting(Reactor): pass"),
    "reactor like a projector": (Projector.registry, "UserProjector", "class UserProjector(Reactor): pass"),
}


@pytest.fixture(autouse=True)
def registries() -> Iterator[None]:
    """Put back what a test has entered."""
    kept = [(registry, dict(registry)) for registry in (*{id(r): r for r, *_ in TWICE.values()}.values(),)]
    yield
    for registry, before in kept:
        registry.clear()
        registry.update(before)


@pytest.mark.parametrize(("registry", "name", "source"), TWICE.values(), ids=TWICE)
def test_a_second_class_of_a_name_is_refused_with_both_places(registry: Registry, name: str, source: str) -> None:
    first = registry[name]
    names = {"__name__": "apps.orders.events", "Aggregate": Aggregate, "DomainEvent": DomainEvent, "Order": Order}
    names |= {"Projector": Projector, "RowProjector": RowProjector, "Reactor": Reactor}
    with pytest.raises(DuplicateName) as refused:
        exec(compile(f"\n\n{source}", "elsewhere.py", "exec"), names)
    for place in (first.__module__, str(Path(first.__module__.replace(".", "/") + ".py")), "elsewhere.py:3"):
        assert place in str(refused.value)
    assert registry[name] is first


def test_two_classes_of_one_module_are_two() -> None:
    class Noted(Reactor):
        pass

    with pytest.raises(DuplicateName, match=r"Noted.*test_registry\.py:\d+.*Noted.*test_registry\.py:\d+"):

        class Noted(Reactor):  # type: ignore[no-redef]
            pass


def test_a_class_with_slots_or_of_a_module_that_is_loaded_again_is_one() -> None:
    for _ in range(2):

        @dataclass(frozen=True, slots=True)
        class Seen(DomainEvent):
            by: str

        assert DomainEvent.types[Seen.type] is Seen


@pytest.mark.parametrize(
    ("base", "name"), [(Process, "take"), (Process, "send"), (Reactor, "react"), (RowProjector, "fold")]
)
def test_a_method_that_hides_one_of_its_base_is_refused(base: type, name: str) -> None:
    methods = {name: on(OrderPaid)(lambda *given: None), "__module__": "apps.orders.reactors"} | {
        "model": Order,
        "category": "bill",
    }
    with pytest.raises(TypeError, match=f"Hiding.{name} hides a method of {base.__name__}: give it another name"):
        types.new_class("Hiding", (base,), exec_body=lambda space: space.update(methods))


def test_two_upcasters_of_a_version_are_refused() -> None:
    with pytest.raises(TypeError, match=r"orders.OrderCancelled has two upcasters: .*orders/events.py:\d+ and .*test_"):
        upcasting.upcasts("orders.OrderCancelled", from_version=1)(lambda data: data)


@pytest.mark.parametrize("command", [["check"], ["run_projectors", "--once"]])
def test_the_application_does_not_start_and_says_so_in_one_line(tmp_path: Path, command: list[str]) -> None:
    manage(tmp_path, "check", SECRET_KEY=STRONG)  # makes the tree
    (tmp_path / "apps").unlink()
    subprocess.run(["cp", "-r", str(Path(__file__).resolve().parents[2] / "apps"), str(tmp_path / "apps")], check=True)
    with (tmp_path / "apps/users/read/projectors.py").open("a") as source:
        source.write("\n\nclass OrderProjector(UserProjector):\n    pass\n")
    environment = {"SECRET_KEY": STRONG, "DATA_DIR": str(tmp_path / "var")}
    run = subprocess.run(
        [sys.executable, "manage.py", *command],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 1
    [line] = run.stderr.splitlines()
    assert line.startswith("two readers are named OrderProjector: apps.")
    assert "apps/users/read/projectors.py:" in line
    assert "apps/orders/read/projectors.py:" in line
