#!/usr/bin/env python
"""Loads customers and their orders from CSV files through the REST API.

CSVDIR has customers.csv (customer_id, name, email), orders.csv (order_id, customer_id, shipped_on or nothing) and
order_lines.csv (order_id, sku, quantity, unit_price). Each request has an Idempotency-Key made of these ids, so a
second run makes no new event, and after an interruption it loads the rest.
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
from concurrent.futures import Executor, ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from rich.console import Console
from rich.progress import track

Row = dict[str, str]
Answer = dict[str, Any]
FOR_STAFF = "/api/orders/summary/?limit=1"
MOST_DROPS = 6  # tries without an answer
LONGEST_WAIT = 60  # seconds; if the server asks for a longer wait, the request counts as refused
MOST_TRIES = 90  # at a second each; a killed server's last requests count as still running for a minute
console = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)
stopping = threading.Event()


class Refused(Exception):
    """The server has refused the request; the message says why."""


class Api(threading.local):
    """The server. Each thread has one connection of its own, which stays open."""

    def __init__(self, url: str, token: str) -> None:
        address = urlsplit(url)
        kind = http.client.HTTPSConnection if address.scheme == "https" else http.client.HTTPConnection
        self.connection = kind(address.hostname or "", address.port, timeout=30)
        self.headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}

    def post(self, path: str, key: str, body: Answer) -> Answer:
        return self.send("POST", path, {"Idempotency-Key": f"load_orders/{quote(key)}"}, json.dumps(body))

    def send(self, method: str, path: str, headers: dict[str, str], body: str | None = None) -> Answer:
        """The answer, after more tries if the server is busy. Raises Refused or ConnectionError."""
        wait = tries = drops = 0
        while not stopping.wait(wait):
            try:
                self.connection.request(method, path, body, self.headers | headers)
                response = self.connection.getresponse()
                content = response.read()
                if response.status < 300:
                    return json.loads(content)
            except (OSError, http.client.HTTPException, json.JSONDecodeError) as error:  # no answer, or only a part
                self.connection.close()
                wait = drops = drops + 1
                if drops >= MOST_DROPS:
                    raise ConnectionError(f"no answer from the server: {error}") from error
                continue
            tries, drops = tries + 1, 0
            again = response.headers.get("Retry-After", "")
            wait = int(again) if again.isdecimal() and response.status in (409, 429, 503) else LONGEST_WAIT + 1
            if wait > LONGEST_WAIT or tries >= MOST_TRIES:
                raise Refused(f"{path}: {response.status} {reason(response, content)}")
        raise Refused("not sent, because the run is stopping")


def reason(response: http.client.HTTPResponse, content: bytes) -> str:
    body: Answer = json.loads(content) if "json" in response.headers.get_content_type() else {"title": response.reason}
    errors = [f"{error['pointer']} {error['detail']}" for error in body.get("errors", [])]
    return ": ".join(filter(None, [body["title"], body.get("detail"), *errors]))


def load_order(api: Api, name: str, row: Row, lines: list[Row], users: dict[str, Answer], currency: str) -> Answer:
    """Place, pay and ship one order; returns the answer to the placing."""
    if row["customer_id"] not in users:
        raise Refused(f"customer {row['customer_id']} is not loaded")
    items = [{**line, "quantity": int(line["quantity"])} for line in lines]
    body = {"customer_id": users[row["customer_id"]]["id"], "currency": currency, "lines": items}
    order = api.post("/api/orders/", f"order/{name}", body)
    path = f"/api/orders/{order['id']}"
    api.post(f"{path}/pay/", f"order/{name}/pay", {"payment_reference": f"PAY-{name}"})
    if row["shipped_on"]:
        api.post(f"{path}/ship/", f"order/{name}/ship", {"tracking_number": f"TRACK-{name}"})
    return order


def each(pool: Executor, what: str, rows: dict[str, Row], load: Callable[[str, Row], Answer]) -> dict[str, Answer]:
    """Load rows in parallel and print those that fail; returns the answers to the others, by the ids of the file."""
    answers = {}
    futures = {pool.submit(load, name, row): name for name, row in rows.items()}
    for future in track(as_completed(futures), f"{what}s", len(rows), console=console, disable=not console.is_terminal):
        try:
            answers[futures[future]] = future.result()
        except (Refused, ValueError) as error:
            console.print(f"{what} {futures[future]}: {error}")
    return answers


def read(path: Path, *columns: str) -> list[Row]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        return [{column: row[column] for column in columns} for row in csv.DictReader(file, restval="")]


def load(folder: Path, api: Api, pool: Executor, currency: str) -> int:
    """Load the customers, then the orders, which need their ids; returns how many rows failed."""
    began = time.monotonic()
    customers = {row.pop("customer_id"): row for row in read(folder / "customers.csv", "customer_id", "name", "email")}
    orders = {row.pop("order_id"): row for row in read(folder / "orders.csv", "order_id", "customer_id", "shipped_on")}
    lines: dict[str, list[Row]] = {name: [] for name in orders}
    for line in read(folder / "order_lines.csv", "order_id", "sku", "quantity", "unit_price"):
        lines[line.pop("order_id")].append(line)
    api.send("GET", FOR_STAFF, {})  # so that a wrong address or token fails once, not for every row
    users = each(pool, "customer", customers, lambda name, row: api.post("/api/users/", f"customer/{name}", row))
    # Wait for the orders service: it refuses an order until it knows the customer.
    api.send("GET", FOR_STAFF, {"Min-Event-Position": str(max([0, *(user["position"] for user in users.values())]))})
    placed = each(pool, "order", orders, lambda name, row: load_order(api, name, row, lines[name], users, currency))
    count, seconds = sum(len(lines[name]) for name in placed), time.monotonic() - began
    console.print(f"{len(users)} customers, {len(placed)} orders, {count} lines in {seconds:.1f} seconds")
    return len(customers) - len(users) + len(orders) - len(placed)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    add, token = parser.add_argument, os.environ.get("HEADRACE_TOKEN")
    add("csvdir", metavar="CSVDIR", type=Path, help="the directory with the three files")
    add("--url", default="http://127.0.0.1:8000", help="the server (default: %(default)s)")
    add("--token", default=token, required=not token, help="the token of a member of staff (default: $HEADRACE_TOKEN)")
    add("--workers", default=8, type=int, metavar="N", help="rows loaded at the same time (default: %(default)s)")
    add("--currency", default="USD", metavar="CODE", help="the currency of every order (default: %(default)s)")
    given = parser.parse_args()
    try:
        failed = load(given.csvdir, Api(given.url, given.token), ThreadPoolExecutor(given.workers), given.currency)
    except KeyError as missing:
        sys.exit(f"The CSV files lack {missing}. It is a column, or the order of a line.")
    except (KeyboardInterrupt, Refused, OSError, ValueError) as error:
        stopping.set()  # so that requests in the queue are not sent
        sys.exit(f"Stopped ({str(error) or 'interrupted'}). What is loaded stays; run this again to load the rest.")
    sys.exit(f"{failed} rows failed." if failed else 0)


if __name__ == "__main__":
    main()
