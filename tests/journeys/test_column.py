"""A column more in a read model, deployed under load: the steps of docs/how-to/upgrade.md."""

import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import httpx

from tests.journeys.deployment import ROOT, Deployment, Server, eventually

COLUMN = "    pieces = models.PositiveIntegerField(db_default=0)\n"
BEFORE = '    lines = models.JSONField(help_text="list of {sku, quantity, unit_price, amount}")\n'
ASSIGNED = "        row.pieces = sum(line.quantity for line in event.lines)\n"
TOTALLED = "        row.total = str(total)\n"
WRONG = "SELECT id FROM orders_order WHERE pieces <> 3"


def newer(directory: Path) -> Path:
    """This code with the column, its projector and its migration."""
    for name in ("apps", "config"):
        shutil.copytree(ROOT / name, directory / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("manage.py", "pyproject.toml"):
        shutil.copy(ROOT / name, directory)
    for name, before, line in (("models.py", BEFORE, COLUMN), ("read/projectors.py", TOTALLED, ASSIGNED)):
        file = directory / "apps/orders" / name
        assert file.read_text().count(before) == 1
        file.write_text(file.read_text().replace(before, before + line))
    return directory


def place(server: Server, customer: str) -> httpx.Response:
    lines = [{"sku": sku, "quantity": quantity, "unit_price": "1.50"} for sku, quantity in (("A", 1), ("B", 2))]
    return server.client.post("/api/orders/", json={"customer_id": customer, "currency": "EUR", "lines": lines})


@contextmanager
def ordering(server: Server, customer: str) -> Iterator[list[int]]:
    """Meanwhile orders are placed and paid, one after another; the statuses of the answers."""
    statuses: list[int] = []
    stop = threading.Event()

    def work() -> None:
        for number in count():
            if stop.is_set():
                return
            placed = place(server, customer)
            statuses.append(placed.status_code)
            if number % 2 and placed.status_code == 201:
                paid = server.client.post(f"{placed.headers['Location']}pay/", json={"payment_reference": "p"})
                statuses.append(paid.status_code)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield statuses
    finally:
        stop.set()
        thread.join()


def test_a_column_is_added_while_old_code_writes_and_no_row_is_wrong_afterwards(
    deployment: Deployment, tmp_path: Path
) -> None:
    new = Deployment(deployment.directory, deployment.urls(), newer(tmp_path / "newer"))
    new.token = deployment.token
    new.manage("makemigrations", "orders", "-n", "pieces", "-v0")
    with deployment.server() as old:
        customer = old.register(1).json()["id"]
        assert place(old, customer).status_code == 201
        with ordering(old, customer) as before:
            new.manage("migrate", "-v0")
            with new.server() as server:
                with ordering(server, customer) as after:
                    seen = len(before)
                    eventually(lambda: len(after) > 5 and len(before) > seen + 5)
                assert server.names()
        assert deployment.query("orders", WRONG)  # what old code has written since; else this shows nothing
    with new.server() as server, ordering(server, customer) as during:
        new.manage("replay_events", "--projector", "OrderProjector", "--no-progress")
        eventually(lambda: len(during) > 2)
    assert {*before, *after, *during} <= {201, 202}
    assert deployment.query("orders", WRONG) == []
    assert deployment.query("orders", "SELECT count(*) FROM orders_deadletter") == [(0,)]
    new.manage("replay_events", "--verify", "--no-progress")
