"""A service apart: processes that serve one service each, and cannot reach the databases of the others."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
from django.conf import settings
from django.core.management import call_command
from django.core.management.base import CommandError

from tests.journeys.deployment import Deployment, Server, eventually, free_port
from tests.support import engine
from tools import postgres

pytestmark = pytest.mark.direct  # it names its databases itself

SERVED = (*settings.SERVICES, settings.PROCESSES)
SHARED = {"default", "keys", "eventlog"}
LINES = [{"sku": "A", "quantity": 1, "unit_price": "1.50"}]
PASSWORD = "correct horse battery"


def only(directory: Path, *names: str) -> dict[str, str]:
    """The environment of a process that serves these, and can reach no database of the others."""
    nowhere = f"postgres://nobody@127.0.0.1:{free_port()}/nothing" if engine.POSTGRES else "sqlite:////proc/nothing/x"
    others = {f"{name.upper()}_DATABASE_URL": nowhere for name in SERVED if name not in names}
    return {"SERVE": ",".join(names), "METRICS_DIR": f"{directory}/metrics-{'-'.join(names)}", **others}


class Apart(NamedTuple):
    """The two servers, and what a customer has: their id, and a client of each server with their token."""

    users: Server
    orders: Server

    def customer(self) -> tuple[str, httpx.Client, httpx.Client]:
        name = {"email": "ann@example.org", "password": PASSWORD}
        id = self.users.client.post("/api/users/", json=name | {"name": "Ann"}).json()["id"]
        login = self.users.client.post("/api/auth/login/", json={"username": name["email"], "password": PASSWORD})
        token = {"Authorization": f"Bearer {login.json()['token']}"}
        return id, *(httpx.Client(base_url=server.url, headers=token, timeout=20) for server in self)


@contextmanager
def running(deployment: Deployment, mode: str) -> Iterator[Apart]:
    """The servers of users and of orders, and in worker mode their workers."""
    with ExitStack() as stack:
        apart = [(name, {"PROJECTIONS": mode, **only(deployment.directory, name)}) for name in Apart._fields]
        for _, environment in apart if mode == "worker" else ():
            stack.enter_context(deployment.worker(**environment))
        yield Apart(**{name: stack.enter_context(deployment.server(**environment)) for name, environment in apart})


def place(client: httpx.Client, **customer: str) -> dict[str, Any]:
    answer = client.post("/api/orders/", json={"currency": "EUR", "lines": LINES, **customer})
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


@pytest.mark.parametrize("mode", ["inline", "worker"])
def test_two_processes_do_what_one_did(deployment: Deployment, mode: str) -> None:
    with running(deployment, mode) as apart:
        ann, at_users, at_orders = apart.customer()
        placed = place(at_orders)
        order, since = f"/api/orders/{placed['id']}/", {"Min-Event-Position": str(placed["position"])}
        eventually(lambda: at_orders.get(order, headers=since).status_code == 200)  # a worker may only just begin
        assert at_orders.get(order).json()["status"] == "placed"
        held = at_users.get(f"/api/users/{ann}/personal-data/").json()
        assert (sorted(held["left_out"]), bool(held["results"])) == (sorted({*SERVED} - {"users"}), True)
        at_users.post(f"/api/users/{ann}/rename/", json={"name": "Anna"})
        eventually(lambda: at_orders.get(order).json()["customer_name"] == "Anna", 2)
        answer = apart.users.client.post(f"/api/users/{ann}/deactivate/", json={"reason": "left"})
        assert answer.status_code == 202
        eventually(lambda: apart.orders.client.get(order).json()["status"] == "cancelled", 2)
        eventually(lambda: at_orders.get("/api/orders/").status_code == 401, 2)
        assert apart.users.client.post(f"/api/users/{ann}/erase/", json={"reason": "asked"}).status_code == 202
        eventually(lambda: apart.orders.client.get(order).json()["customer_name"] == "[erased]", 2)
        if mode == "worker":
            run_processes(deployment, apart)
    fold, live = deployment.rows()
    assert live == fold


def run_processes(deployment: Deployment, apart: Apart) -> None:
    """A worker of the processes alone, without the database of orders, cancels an order that nobody has paid."""
    bob = apart.users.register(2).json()["id"]
    order = f"/api/orders/{place(apart.orders.client, customer_id=bob)['id']}/"
    alone = only(deployment.directory, settings.PROCESSES)
    with deployment.worker(PROJECTIONS="worker", PAYMENT_DEADLINE="1s", **alone):
        why = "the order was not paid in time"
        eventually(lambda: apart.orders.client.get(order).json().get("cancel_reason") == why)


def readers(server: Server) -> set[str]:
    status = server.client.get("/api/events/status/").json()
    return {each["service"] for kind in ("projectors", "reactors", "processes") for each in status[kind]}


def test_a_process_shows_and_asks_for_what_it_serves(deployment: Deployment) -> None:
    with running(deployment, "inline") as apart:
        for server, mine, other in ((apart.users, "users", "orders"), (apart.orders, "orders", "users")):
            ready = server.client.get("/readyz")
            assert (ready.status_code, ready.json()) == (200, dict.fromkeys({*SHARED, mine}, True))
            assert server.client.get(f"/api/{mine}/").status_code == 200
            assert server.client.get(f"/api/{other}/").status_code == 404
            assert server.client.get("/api/events/").status_code == 200
            assert readers(server) == {mine}
            assert server.client.get("/api/events/status/").json()["serves"] == [mine]
            schema = server.client.get("/api/schema/", headers={"Accept": "application/json"}).json()["paths"]
            assert {path.split("/")[2] for path in schema if path.split("/")[2] in Apart._fields} == {mine}
            metrics = server.client.get("/metrics").text
            assert f'service="{mine}"' in metrics
            assert f'service="{other}"' not in metrics
            pages = logged_in(server)
            assert {pages.get(path).status_code for path in ("/", "/api/docs/", "/login/")} == {200}
            index = pages.get("/admin/").text
            assert (f"/admin/{mine}/" in index, f"/admin/{other}/" in index) == (True, False)
            assert pages.get(f"/admin/{other}/checkpoint/").status_code == 404
            assert pages.get("/admin/projectors/").status_code == 200
            assert pages.get("/admin/auth/user/").status_code == 200


def logged_in(server: Server) -> httpx.Client:
    pages = httpx.Client(base_url=server.url, timeout=20, follow_redirects=True)
    pages.get("/admin/login/")
    form = {"username": "admin", "password": "admin", "csrfmiddlewaretoken": pages.cookies["csrftoken"]}
    pages.post("/admin/login/?next=/admin/", data=form, headers={"Referer": server.url})
    return pages


def test_an_empty_deployment_is_migrated_service_by_service(tmp_path: Path) -> None:
    urls = postgres.databases(engine.URL, f"apart_{engine.WORKER}") if engine.POSTGRES else {}
    deployment = Deployment(tmp_path, urls)
    for name in SERVED:
        deployment.manage("migrate", "-v0", **only(tmp_path, name))
    deployment.manage("migrate", "--check", "-v0")  # fails if something is missing


def test_commands_leave_alone_what_is_left_out(deployment: Deployment) -> None:
    deployment.manage("shell", "-v0", "-c", "from tests.support.history import make_history; make_history(users=3)")
    deployment.manage("replay_events", "--no-progress", **only(deployment.directory, "orders"))
    for arguments in (["run_projectors", "--once"], ["log_status"]):
        deployment.manage(*arguments, **only(deployment.directory, "users"))
    fold, live = deployment.rows()
    assert live == fold


EVERYTHING = {
    "backup": ["nowhere"],
    "restore": ["nowhere"],
    "print_roles": [],
    "subject_report": ["018f0000-0000-7000-8000-000000000000"],
    "reapply_erasures": [],
    "flush": ["--no-input"],
    "migrate": ["users", "zero"],
}


def test_commands_that_take_every_database_say_what_is_left_out(settings: Any) -> None:
    settings.LEFT_OUT = ("users", "processes")
    for command, arguments in EVERYTHING.items():
        with pytest.raises(CommandError, match="SERVE leaves") as refused:
            call_command(command, *arguments)
        assert "\n" not in str(refused.value), command
    with pytest.raises(CommandError, match="users erases a person, and SERVE leaves it out"):
        call_command("erase_user", "018f0000-0000-7000-8000-000000000000", "--reason", "asked")


def test_commands_that_take_a_part_say_what_they_leave_alone(settings: Any, capsys: pytest.CaptureFixture[str]) -> None:
    settings.LEFT_OUT = ("processes",)
    for command, arguments in {"migrate": ["-v0"], "replay_events": ["--dry-run"], "dead_letters": ["list"]}.items():
        call_command(command, *arguments)
        said = capsys.readouterr().err.splitlines()
        assert len([line for line in said if line.startswith("SERVE leaves out processes: ")]) == 1, command
