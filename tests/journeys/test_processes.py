"""Timers fire in both modes, also those that came due while nothing was running; kills change nothing."""

import json
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import httpx
import pytest

from tests.journeys.deployment import Deployment, Server, eventually

APPEND = """
from uuid import uuid4
from apps.eventlog import store
from apps.users.events import UserDeactivated, UserRegistered
from apps.orders.events import OrderPlaced
from tests.support.fulfilment import LINES
user = uuid4()
events = [UserRegistered(f"{user}@example.org", "Elsewhere"), UserDeactivated("left")]
store.append(f"user-{user}", events, expected_version=0)
store.append(f"order-{uuid4()}", [OrderPlaced(user, "EUR", LINES)], expected_version=0)
"""
MANY = """
from datetime import timedelta
from uuid import uuid4
from django.utils import timezone
from apps.processes.models import Timer
about = {"process": "PaymentDeadline", "name": "expired", "at": timezone.now() + timedelta(days=1)}
Timer.objects.bulk_create([Timer(id=n, key=n, position=1, event_id=uuid4(), **about) for n in map(str, range(10_000))])
"""
KILL = "from tests.journeys.process_kills import kill; kill({times}, seed={times})"


def place(server: Server) -> str:
    """An order of a new customer; returns its id."""
    number = len(server.client.get("/api/users/").json()["results"])
    registered = server.register(number)
    shown = {"Min-Event-Position": registered.headers["Event-Position"]}
    customer = registered.json()["id"]
    assert server.client.get(f"/api/users/{customer}/", headers=shown).status_code == 200
    body = {"customer_id": customer, "currency": "EUR", "lines": [{"sku": "A", "quantity": 1, "unit_price": "1.00"}]}
    answers: list[httpx.Response] = []

    def placed() -> bool:
        answers.append(server.client.post("/api/orders/", json=body))
        return answers[-1].status_code == 201  # else the copy of the customers is not there yet

    eventually(placed)
    return str(answers[-1].json()["id"])


def status_of(server: Server, order: str) -> Any:
    return server.client.get(f"/api/orders/{order}/").json().get("status")


@contextmanager
def running(deployment: Deployment, mode: str, **environment: str) -> Iterator[Server]:
    """A server, and in worker mode a worker beside it."""
    with deployment.server(PROJECTIONS=mode, **environment) as server:
        if mode == "inline":
            yield server
            return
        with deployment.worker(PROJECTIONS=mode, **environment):
            yield server


@pytest.mark.parametrize("mode", ["inline", "worker"])
def test_an_unpaid_order_is_cancelled_in_time_beside_ten_thousand_timers(deployment: Deployment, mode: str) -> None:
    deployment.manage("shell", "-v0", "-c", MANY)
    with running(deployment, mode, PAYMENT_DEADLINE="1s") as server:
        unpaid, paid = place(server), place(server)
        server.client.post(f"/api/orders/{paid}/pay/", json={"payment_reference": "p"})
        eventually(lambda: status_of(server, unpaid) == "cancelled", 3.0)  # a second, and two
        assert status_of(server, paid) == "paid"
        [process] = server.client.get("/api/events/status/").json()["processes"]
        assert (process["name"], process["lag"], process["dead_letters"]) == ("PaymentDeadline", 0, 0)


@pytest.mark.parametrize("mode", ["inline", pytest.param("worker", marks=pytest.mark.nightly)])
def test_what_came_due_while_nothing_was_running_fires_at_the_start_and_once(deployment: Deployment, mode: str) -> None:
    with running(deployment, mode, PAYMENT_DEADLINE="2s") as server:
        orders = [place(server) for _ in range(2)]
        eventually(lambda: deployment.query("processes", "SELECT count(*) FROM processes_timer") == [(2,)])
    due = "SELECT count(*) FROM processes_timer WHERE at > CURRENT_TIMESTAMP"
    eventually(lambda: deployment.query("processes", due) == [(0,)])
    with running(deployment, mode, PAYMENT_DEADLINE="2s") as server:
        eventually(lambda: [status_of(server, order) for order in orders] == ["cancelled"] * 2)
        events = server.client.get("/api/events/?type=orders.OrderCancelled").json()["results"]
        assert len(events) == 2


def test_a_server_follows_what_others_append(deployment: Deployment) -> None:
    """Rows, reactors and processes, though no command arrives here."""
    with deployment.server() as server:
        deployment.manage("shell", "-v0", "-c", APPEND, PROJECTIONS="worker")
        eventually(lambda: "Elsewhere" in server.names(), 2.0)
        orders = server.client.get("/api/orders/").json()["results"]
        eventually(lambda: status_of(server, orders[0]["id"]) == "cancelled", 2.0)


def test_a_server_that_is_told_to_stop_does_so_at_once(deployment: Deployment) -> None:
    with deployment.server() as server:
        server.register(0)
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(timeout=10) in (0, -signal.SIGTERM)
    assert "Traceback" not in (deployment.directory / "processes.log").read_text()


@pytest.mark.parametrize(
    "failpoint", ["fired", *(pytest.param(name, marks=pytest.mark.nightly) for name in ("processed", "sent"))]
)
def test_killed_in_the_middle_of_a_step_it_is_done_once(deployment: Deployment, failpoint: str) -> None:
    with deployment.server(PAYMENT_DEADLINE="1s", FAILPOINT=failpoint) as server:
        with suppress(httpx.TransportError, AssertionError):
            place(server)
        assert server.process.wait(timeout=15) == -signal.SIGKILL
    with deployment.server(PAYMENT_DEADLINE="1s") as server:
        [order] = server.client.get("/api/orders/").json()["results"]
        eventually(lambda: status_of(server, order["id"]) == "cancelled")
        assert len(server.client.get("/api/events/?type=orders.OrderCancelled").json()["results"]) == 1
    assert deployment.query("processes", "SELECT status FROM processes_outgoingcommand") == [("sent",)]


@pytest.mark.parametrize("times", [6, pytest.param(100, marks=[pytest.mark.nightly, pytest.mark.timeout(900)])])
def test_under_kills_each_order_is_paid_shipped_and_delivered_once(deployment: Deployment, times: int) -> None:
    script = KILL.format(times=times)
    found = json.loads(deployment.manage("shell", "-v0", "-c", script, seconds=800, PROJECTIONS="worker"))
    orders = 2 * times
    assert found["orders"] == {"OrderPlaced OrderPaid OrderShipped OrderDelivered": orders}
    assert (found["set aside"], found["paid"]) == ([], {"1": orders})
    assert found["sent"] == [[f"orders.{name}Order", "sent", orders] for name in ("Deliver", "Pay", "Ship")]
