#!/usr/bin/env python
"""Loads customers and their orders from CSV files through the REST API.

    CSVDIR/customers.csv      customer_id, name, email
    CSVDIR/orders.csv         order_id, customer_id, shipped_on (empty: not shipped)
    CSVDIR/order_lines.csv    order_id, sku, quantity, unit_price

Every order is placed and paid, and shipped where it has a day of shipping. Each request carries an Idempotency-Key
made of the ids in the files, so running again makes no new event and goes on where an interrupted run stopped.
"""

import argparse
import csv
import http.client
import json
import os
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from io import StringIO
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from rich.console import Console
from rich.progress import track

Row = dict[str, str]
Answer = dict[str, Any]

TRIES = 6
LONGEST_WAIT = 60  # seconds; a server that asks for more has refused the request

console = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)
stopping = threading.Event()


class Refused(Exception):
    """The server's answer is no; the message says why."""


class Api(threading.local):
    """The server; being a `threading.local`, it has one connection a thread, which stays open."""

    def __init__(self, url: str, token: str) -> None:
        address = urlsplit(url)
        kind = http.client.HTTPSConnection if address.scheme == "https" else http.client.HTTPConnection
        self.connection = kind(address.hostname or "", address.port, timeout=30)
        self.headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}

    def post(self, path: str, key: str, body: Answer) -> Answer:
        return self.send("POST", path, {"Idempotency-Key": f"load_orders/{quote(key)}"}, json.dumps(body))

    def wait_for(self, position: int) -> None:
        """Wait until the orders service shows the log up to this position; only staff may ask."""
        self.send("GET", "/api/orders/summary/?limit=1", {"Min-Event-Position": str(position)})

    def send(self, method: str, path: str, headers: dict[str, str], body: str | None = None) -> Answer:
        """The answer, after a few tries where the server is busy; raises Refused or ConnectionError."""
        wait, failure = 0, Exception()
        for attempt in range(1, TRIES + 1):
            if stopping.wait(wait):
                raise Refused("not sent any more")
            try:
                self.connection.request(method, path, body, self.headers | headers)
                response = self.connection.getresponse()
                content = response.read()
            except (OSError, http.client.HTTPException) as error:
                self.connection.close()
                wait, failure = attempt, ConnectionError(f"no answer from the server ({error})")
                continue
            if response.status < 300:
                return json.loads(content)
            failure = Refused(f"{path}: {response.status} {reason(response, content)}")
            seconds = response.headers.get("Retry-After", "")
            if response.status not in (409, 429, 503) or not seconds.isdecimal() or int(seconds) > LONGEST_WAIT:
                break
            wait = int(seconds)
        raise failure


def reason(response: http.client.HTTPResponse, content: bytes) -> str:
    """Why a request was refused: its problem document (RFC 9457) in one line, or what a proxy says."""
    problem = json.loads(content) if "json" in response.headers.get_content_type() else {"title": response.reason}
    errors = [f"{error.get('pointer', '')} {error.get('detail', '')}" for error in problem.get("errors", [])]
    return ": ".join(filter(None, [problem.get("title"), problem.get("detail"), "; ".join(errors)]))


def load_customer(api: Api, row: Row) -> Answer:
    return api.post("/api/users/", f"customer/{row['customer_id']}", {"email": row["email"], "name": row["name"]})


def load_order(api: Api, row: Row, lines: list[Row], users: dict[str, Answer], currency: str) -> Answer:
    """Place, pay and ship one order, one after the other; returns the answer to the first."""
    name, customer = row["order_id"], users.get(row["customer_id"])
    if customer is None:
        raise Refused(f"customer {row['customer_id']} is not loaded")
    items = [
        {"sku": line["sku"], "quantity": int(line["quantity"]), "unit_price": line["unit_price"]} for line in lines
    ]
    body = {"customer_id": customer["id"], "currency": currency, "lines": items}
    order = api.post("/api/orders/", f"order/{name}", body)
    path = f"/api/orders/{order['id']}"
    api.post(f"{path}/pay/", f"order/{name}/pay", {"payment_reference": f"PAY-{name}"})
    if row["shipped_on"]:
        api.post(f"{path}/ship/", f"order/{name}/ship", {"tracking_number": f"TRACK-{name}"})
    return order


def each(pool: ThreadPoolExecutor, what: str, rows: list[Row], load: Callable[[Row], Answer]) -> dict[str, Answer]:
    """Load rows in parallel and report those that fail; returns the answers to the others, by id."""
    answers = {}
    futures = {pool.submit(load, row): row[f"{what}_id"] for row in rows}
    for future in track(as_completed(futures), f"{what}s", len(rows), console=console, disable=not console.is_terminal):
        try:
            answers[futures[future]] = future.result()
        except (Refused, ValueError) as error:
            console.print(f"{what} {futures[future]}: {error}")
    return answers


def load(directory: Path, api: Api, pool: ThreadPoolExecutor, currency: str) -> tuple[str, int]:
    """Customers first, then the orders, which need their ids; returns what was loaded, and how many rows were not."""
    paths = (directory / f"{name}.csv" for name in ("customers", "orders", "order_lines"))
    customers, orders, items = (
        list(csv.DictReader(StringIO(path.read_text("utf-8-sig")), restval="")) for path in paths
    )
    lines: dict[str, list[Row]] = {row["order_id"]: [] for row in orders}
    for item in items:
        lines[item["order_id"]].append(item)
    api.wait_for(0)  # a wrong address or token is reported here, once and not once a row
    users = each(pool, "customer", customers, lambda row: load_customer(api, row))
    api.wait_for(max((user["position"] for user in users.values()), default=0))
    placed = each(pool, "order", orders, lambda row: load_order(api, row, lines[row["order_id"]], users, currency))
    count = sum(len(lines[name]) for name in placed)
    failed = len(customers) - len(users) + len(orders) - len(placed)
    return f"{len(users)} customers, {len(placed)} orders, {count} lines", failed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add, token = parser.add_argument, os.environ.get("HEADRACE_TOKEN")
    add("csvdir", metavar="CSVDIR", type=Path, help="the directory of the three files")
    add("--url", default="http://127.0.0.1:8000", help="where the server is (default: %(default)s)")
    add("--token", default=token, required=not token, help="of a member of staff (default: $HEADRACE_TOKEN)")
    add("--workers", default=8, type=int, metavar="N", help="orders at a time (default: %(default)s)")
    add("--currency", default="USD", metavar="CODE", help="of every order (default: %(default)s)")
    options = parser.parse_args()
    began = time.monotonic()
    try:
        with ThreadPoolExecutor(options.workers) as pool:
            try:
                loaded, failed = load(options.csvdir, Api(options.url, options.token), pool, options.currency)
            finally:
                stopping.set()  # what is still queued is not sent
    except KeyError as missing:
        sys.exit(f"The CSV files lack {missing}: a column, or the order of a line.")
    except (KeyboardInterrupt, Refused, OSError, ValueError) as error:
        sys.exit(f"Stopped: {str(error) or 'interrupted'}. What is loaded stays; run this again to go on from there.")
    console.print(f"{loaded} in {time.monotonic() - began:.1f} seconds" + f"; {failed} rows failed" * bool(failed))
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
