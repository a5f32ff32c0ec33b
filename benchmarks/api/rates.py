"""`make bench-api`: the speed of commands and queries, beside plain DRF and DRF with django-simple-history.

wrk asks one contender after another, in rounds, each under the server that `make run` starts; medians. Each size has
databases and servers of its own, so that a short table and a long one are measured in the same rounds.
"""

import argparse
import json
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from benchmarks.site import ROOT, UVICORN, free_port, process
from tools import postgres

SCRIPT = str(Path(__file__).with_name("requests.lua"))
CONNECTIONS = 8
# The servers, by name: settings and mode.
SERVERS = {
    "inline": ("config.settings", "inline"),
    "worker": ("config.settings", "worker"),
    "rivals": ("benchmarks.api.rivals.settings", "inline"),
}


class Row(NamedTuple):
    """One kind of request, and the server it goes to. In a path, %s is an order, {far} a cursor far behind."""

    server: str
    path: str
    method: str = "GET"
    key: str = "customer_id"
    encoding: str = "identity"


ROWS = {
    "no-op view": Row("rivals", "/nothing"),
    "command, inline": Row("inline", "/api/orders/", "POST"),
    "command, worker": Row("worker", "/api/orders/", "POST"),
    "create, DRF": Row("rivals", "/plain/", "POST", "customer"),
    "create, DRF + simple-history": Row("rivals", "/tracked/", "POST", "customer"),
    "list of 50": Row("inline", "/api/orders/"),
    "list of 50, gzip": Row("inline", "/api/orders/", encoding="gzip"),
    "list of 50, DRF": Row("rivals", "/plain/"),
    "one document": Row("inline", "/api/orders/%s/"),
    "one document, DRF": Row("rivals", "/plain/%s/"),
    "page far behind": Row("inline", "/api/orders/?cursor={far}"),
}
HISTORY = "create, DRF + simple-history"
RATIOS = [
    *[(mode, rival) for rival in (HISTORY, "create, DRF") for mode in ("command, inline", "command, worker")],
    *[("list of 50", "list of 50, DRF"), ("one document", "one document, DRF"), ("page far behind", "list of 50")],
    ("list of 50, gzip", "list of 50"),
]


class Site:
    """The servers over databases of one size."""

    def __init__(self, orders: int, directory: Path, url: str) -> None:
        self.orders, self.ports = orders, {name: free_port() for name in SERVERS}
        self.behind: list[float] = []  # seconds that the worker needed after the last command of each round
        directory.mkdir()
        self.environment = {"DATA_DIR": str(directory), "SECRET_KEY": "bench" * 12, "ALLOWED_HOSTS": "*"}
        self.environment |= {"DEBUG": "off", "SECURE_COOKIES": "off"}
        self.environment |= postgres.databases(url, f"bench_{orders}") if url else {}
        self._set("rivals")
        filled = subprocess.run(
            [sys.executable, "-m", "benchmarks.api.fill", str(orders)], check=True, stdout=subprocess.PIPE, cwd=ROOT
        )
        found = json.loads(filled.stdout)
        self.token, self.far, self.page = found["token"], found["far"], found["page"]

    @contextmanager
    def serving(self) -> Iterator["Site"]:
        with ExitStack() as stack:
            for name, port in self.ports.items():
                self._set(name)
                stack.enter_context(process(*UVICORN, "config.asgi:application", "--port", str(port), port=port))
            yield self

    def rate(self, row: Row, seconds: float) -> float:
        """Requests a second of a row. Ends the benchmark if an answer is an error."""
        if row.server != "worker":
            return self._rate(row, seconds)
        self._set("worker")
        worker = subprocess.Popen([sys.executable, "manage.py", "run_projectors"], cwd=ROOT, stdout=subprocess.DEVNULL)
        try:
            self._drain()
            rate = self._rate(row, seconds)
            began = time.perf_counter()
            self._drain()
            self.behind.append(time.perf_counter() - began)
            return rate
        finally:
            worker.send_signal(signal.SIGTERM)
            worker.wait()

    def _rate(self, row: Row, seconds: float) -> float:
        path = row.path.format(far=self.far)
        command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "-s", SCRIPT, self._url(row.server)]
        command += ["--", row.method, path, row.key, str(self.orders), row.encoding]
        token = self.token[:40] if row.server == "rivals" else self.token
        said = subprocess.run(
            command, env=os.environ | {"TOKEN": token}, check=True, capture_output=True, text=True
        ).stdout
        rate = re.search(r"Requests/sec:\s+([\d.]+)", said)
        if "Non-2xx" in said or "Socket errors" in said or not rate:
            raise SystemExit(f"{row.method} {path} went wrong:\n{said}")
        return float(rate[1])

    def _drain(self) -> None:
        """Send a last command and wait until the worker has projected it."""
        customer = "00000000-0000-7000-8000-000000000000"
        line = {"sku": "A-1", "quantity": 1, "unit_price": "9.50"}
        body = json.dumps({"customer_id": customer, "currency": "EUR", "lines": [line]}).encode()
        position = json.loads(self._ask("/api/orders/", body))["position"]
        while True:
            try:
                self._ask("/api/orders/?limit=1", position=position)
            except urllib.error.HTTPError as error:
                if error.code != 503:
                    raise
            else:
                return

    def _ask(self, path: str, body: bytes | None = None, position: int = 0) -> bytes:
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        headers |= {"Min-Event-Position": str(position)} if position else {}
        request = urllib.request.Request(self._url("worker") + path, body, headers)
        with urllib.request.urlopen(request, timeout=30) as answer:
            return bytes(answer.read())

    def _url(self, server: str) -> str:
        return f"http://127.0.0.1:{self.ports[server]}"

    def _set(self, server: str) -> None:
        settings, mode = SERVERS[server]
        os.environ |= self.environment | {"DJANGO_SETTINGS_MODULE": settings, "PROJECTIONS": mode}


def measure(sites: list[Site], rounds: int, seconds: float) -> dict[str, list[float]]:
    """The medians of each row, one for each site."""
    taken: dict[str, list[list[float]]] = {name: [[] for _ in sites] for name in ROWS}
    for number in range(rounds + 1):
        for name, row in ROWS.items():
            for rates, site in zip(taken[name], sites, strict=True):
                rate = site.rate(row, seconds if number else 1)
                if number:  # the first round warms up
                    rates.append(rate)
    return {name: [statistics.median(rates) for rates in each] for name, each in taken.items()}


def report(engine: str, sites: list[Site], found: dict[str, list[float]]) -> None:
    sizes = " | ".join(f"{site.orders:,} orders" for site in sites)
    print(f"\n| {engine}, requests/s | {sizes} | ratio |\n| --- |{' ---: |' * (len(sites) + 1)}")
    for name, rates in found.items():
        named = f"page {sites[-1].page:,}" if name == "page far behind" else name
        print(f"| {named} | {' | '.join(f'{rate:,.0f}' for rate in rates)} | {rates[-1] / rates[0]:.2f} |")
    print(f"\n| {engine}, ratios | {sizes} |\n| --- |{' ---: |' * len(sites)}")
    for ours, theirs in RATIOS:
        ratios = [one / other for one, other in zip(found[ours], found[theirs], strict=True)]
        print(f"| {ours} / {theirs} | {' | '.join(f'{ratio:.2f}' for ratio in ratios)} |")
    behind = max(seconds for site in sites for seconds in site.behind)
    print(f"\nThe worker had projected every command {behind:.2f} s after the last one at most.")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--db", choices=["sqlite", "postgres"], default="sqlite")
    parser.add_argument("--orders", type=int, nargs="*", default=[10_000, 1_000_000])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=3)
    parser.add_argument("--rows", nargs="*", help="only those that begin so")
    given = parser.parse_args()
    if not shutil.which("wrk"):
        raise SystemExit("wrk is missing: apt-get install wrk")
    if given.rows:
        for name in [name for name in ROWS if not name.startswith(tuple(given.rows))]:
            del ROWS[name]
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as directory, ExitStack() as stack:
        url = ""
        if given.db == "postgres":
            server = postgres.Server(Path(directory, "postgres"))
            url = server.start()
            stack.callback(server.remove)
        sites = [Site(orders, Path(directory, str(orders)), url) for orders in given.orders]
        for site in sites:
            stack.enter_context(site.serving())
        report(given.db, sites, measure(sites, given.rounds, given.seconds))


if __name__ == "__main__":
    main()
