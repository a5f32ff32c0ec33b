"""`make bench-stream`: requests a second of the API on the shipped server, beside the same application under granian.

One process (or `--processes`) and four threads each, eight connections, rounds interleaved, medians; the shipped server
once more with streams open that get every event. The load comes from wrk where the machine has it, else from `Loader`.
"""

import argparse
import asyncio
import json
import re
import shutil
import statistics
import subprocess
import tempfile
import time
from contextlib import ExitStack

from benchmarks import site
from benchmarks.stream import listeners

CONNECTIONS = 8
LINE = {"sku": "A-1", "quantity": 2, "unit_price": "12.50"}
GRANIAN: tuple[str, ...] = ("-m", "granian", "--interface", "wsgi", "--blocking-threads", "4", "--no-ws", "--no-log")
GRANIAN += ("config.wsgi:application",)


class Loader(asyncio.Protocol):
    """One connection that sends the same request again after each answer, for machines without wrk."""

    def __init__(self, request: bytes) -> None:
        self.request, self.left, self.answers, self.refused = request, b"", 0, 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.write(self.request)

    def data_received(self, data: bytes) -> None:
        self.left += data
        head, end, body = self.left.partition(b"\r\n\r\n")
        length = re.search(rb"(?i)content-length: (\d+)", head)
        if end and length and len(body) >= int(length[1]):
            self.left = b""
            self.answers += 1
            self.refused += head[9:10] != b"2"
            self.transport.write(self.request)


def measure(port: int, method: str, path: str, token: str, body: str, seconds: float) -> float:
    """Successful requests a second."""
    load = with_wrk if shutil.which("wrk") else without_wrk
    rate, refused = load(port, method, path, token, body, seconds)
    if refused:
        raise SystemExit(f"{method} {path}: {refused} answers were not successes")
    return rate


def with_wrk(port: int, method: str, path: str, token: str, body: str, seconds: float) -> tuple[float, int]:
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(f"wrk.method = '{method}'\nwrk.body = '{body}'\n" if body else "")
        script.flush()
        command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds:.0f}s", "-s", script.name]
        command += ["-H", f"Authorization: Bearer {token}", "-H", "Content-Type: application/json"]
        output = subprocess.run(
            [*command, f"http://127.0.0.1:{port}{path}"], capture_output=True, text=True, check=True
        )
    refused = re.search(r"Non-2xx or 3xx responses: (\d+)", output.stdout)
    rate = re.search(r"Requests/sec:\s+([\d.]+)", output.stdout)
    assert rate
    return float(rate[1]), int(refused[1]) if refused else 0


def without_wrk(port: int, method: str, path: str, token: str, body: str, seconds: float) -> tuple[float, int]:
    head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n"
    request = f"{head}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()

    async def run() -> tuple[float, int]:
        loop, began = asyncio.get_running_loop(), time.monotonic()
        made = [await loop.create_connection(lambda: Loader(request), "127.0.0.1", port) for _ in range(CONNECTIONS)]
        await asyncio.sleep(seconds)
        rate = sum(loader.answers for _, loader in made) / (time.monotonic() - began)
        for transport, _ in made:
            transport.close()
        return rate, sum(loader.refused for _, loader in made)

    return asyncio.run(run())


def fill(port: int, token: str) -> dict[str, tuple[str, str, str]]:
    """A customer with fifty orders; the requests to measure as (method, path, body)."""
    import http.client

    connection = http.client.HTTPConnection("127.0.0.1", port)
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}

    def post(path: str, body: object) -> str:
        connection.request("POST", path, body=json.dumps(body), headers=headers)
        return str(json.loads(connection.getresponse().read())["id"])

    customer = post("/api/users/", {"email": "bench@example.org", "name": "Bench"})
    order = {"customer_id": customer, "currency": "EUR", "lines": [LINE]}
    for _ in range(50):
        last = post("/api/orders/", order)
    return {
        "a page, no database": ("GET", "/", ""),
        "one order": ("GET", f"/api/orders/{last}/", ""),
        "a list of 50": ("GET", "/api/orders/?limit=50", ""),
        "placing an order": ("POST", "/api/orders/", json.dumps(order)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--streams", type=int, default=100)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--db", choices=["sqlite", "postgres"], default="postgres")
    given = parser.parse_args()
    with site.deployment(given.db), ExitStack() as servers:
        ports = {name: site.free_port() for name in ("shipped", "shipped, streams open", "granian")}
        servers.enter_context(site.shipped(ports["shipped"], given.processes))
        servers.enter_context(site.shipped(ports["shipped, streams open"], given.processes))
        granian = (*GRANIAN, "--workers", str(given.processes), "--port", str(ports["granian"]))
        servers.enter_context(site.process(*granian, port=ports["granian"]))
        token, *more = site.tokens(given.streams + 1)
        requests = fill(ports["shipped"], token)
        streams = [listeners.request("/api/events/stream/", each) for each in more]
        crowd = servers.enter_context(listeners.listening(ports["shipped, streams open"], streams))
        print(f"\n{given.db}, load by {'wrk' if shutil.which('wrk') else 'Loader'}, {crowd.opened()} streams open")
        print("\n| requests/s | granian, WSGI | shipped | of granian | with streams open | of granian |")
        print("| --- | ---: | ---: | ---: | ---: | ---: |")
        for name, request in requests.items():
            rates: dict[str, list[float]] = {contender: [] for contender in ports}
            for _ in range(given.rounds):
                for contender, port in ports.items():
                    method, path, body = request
                    rates[contender].append(measure(port, method, path, token, body, given.seconds))
            ours, streaming, theirs = (statistics.median(each) for each in rates.values())
            ratios = f"{ours:,.0f} | {ours / theirs:.2f} | {streaming:,.0f} | {streaming / theirs:.2f} |"
            print(f"| {name} | {theirs:,.0f} | {ratios}", flush=True)
        crowd.finish({0: 0.0}, patience=0)


if __name__ == "__main__":
    main()
