"""The examples, run as a newcomer would run them."""

import csv
import subprocess
import sys
from decimal import Decimal

from tests.journeys.deployment import ROOT, Deployment, Server

DATA = ROOT / "examples" / "data"


def load(server: Server) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "examples/load_orders.py", str(DATA), "--url", server.url, "--token", server.token]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)


def pages(server: Server, path: str) -> list[dict[str, str]]:
    documents, url = [], path
    while url:
        page = server.client.get(url).json()
        documents += page["results"]
        url = page["next"]
    return documents


def rows(name: str) -> list[dict[str, str]]:
    with (DATA / name).open(newline="") as file:
        return list(csv.DictReader(file))


def test_orders_are_loaded_once_however_often_and_replay_to_the_same_rows(deployment: Deployment) -> None:
    with deployment.server() as server:
        result = load(server)
        assert result.returncode == 0, result.stderr
        events = server.client.get("/api/events/?limit=1000").json()["results"]
        orders = pages(server, "/api/orders/?limit=5")
        assert len({order["id"] for order in orders}) == len(rows("orders.csv"))
        assert len(pages(server, "/api/users/")) == len(rows("customers.csv"))
        total = sum(Decimal(line["quantity"]) * Decimal(line["unit_price"]) for line in rows("order_lines.csv"))
        assert sum(Decimal(day["revenue"]) for day in pages(server, "/api/orders/summary/")) == total
        assert load(server).returncode == 0
        assert server.client.get("/api/events/?limit=1000").json()["results"] == events
        deployment.manage("replay_events")
        assert pages(server, "/api/orders/?limit=5") == orders


def test_a_loader_that_is_refused_says_why(deployment: Deployment) -> None:
    with deployment.server() as server:
        server.token = "wrong"
        result = load(server)
        assert result.returncode == 1
        assert "401" in result.stdout + result.stderr


def test_demo_data_comes_once_and_is_the_same_at_every_run(deployment: Deployment) -> None:
    def demo(debug: str = "on") -> str:
        command, environment = [sys.executable, "examples/demo.py"], {"DEBUG": debug, "DEMO_LOGIN": "0"}
        return subprocess.run(
            command,
            cwd=ROOT,
            env=deployment.environment | environment,
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        ).stdout

    assert demo("off") == "Demo data: left out, because DEBUG is off\n"
    assert "12 users, 48 orders" in demo()
    events = "SELECT position, stream, type FROM eventlog_event ORDER BY position"
    listed = deployment.query("eventlog", events)
    assert demo() == "Demo data: there already\n"
    assert deployment.query("eventlog", events) == listed
    assert listed[-1][-1] == "orders.OrderCancelled"
