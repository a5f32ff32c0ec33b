"""`make bench-replicas`: queries a second of a server whose replicas are none, one or two, and who does the work.

PostgreSQL only. All servers are on one machine, so replicas bring no processors along. What can be seen here is whether
a replica slows a query, and how much work it takes from the primary: the processor time of each server is counted.

With `--share 0.1` each PostgreSQL server is on a host of its own, with a tenth of a processor: see hosts.py.
"""

import argparse
import io
import os
import re
import statistics
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from benchmarks import made_up
from benchmarks.replicas import hosts
from benchmarks.site import UVICORN, free_port, process
from tools import postgres

SCRIPT = str(Path(__file__).parents[1] / "api" / "requests.lua")
ROWS = {"list of 50": "/api/orders/", "one document": "/api/orders/{order}/"}
TICKS = os.sysconf("SC_CLK_TCK")


def processor_seconds(server: postgres.Server) -> float:
    """Seconds of processor time that a PostgreSQL server has used so far, all of its processes together."""
    postmaster = (server.data / "postmaster.pid").read_text().split()[0]
    children = Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text().split()
    ticks = 0
    for number, pid in enumerate([postmaster, *children]):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += sum(map(int, fields[11:13])) + (0 if number else sum(map(int, fields[13:15])))
    return ticks / TICKS


def ask(port: int, path: str, token: str, seconds: int) -> float:
    """Requests a second. Ends the benchmark if an answer is an error."""
    command = ["wrk", "-t1", "-c8", f"-d{seconds}s", "-s", SCRIPT, f"http://127.0.0.1:{port}"]
    command += ["--", "GET", path, "", "1", "identity"]
    said = subprocess.run(command, env=os.environ | {"TOKEN": token}, check=True, capture_output=True, text=True).stdout
    rate = re.search(r"Requests/sec:\s+([\d.]+)", said)
    if "Non-2xx" in said or "Socket errors" in said or not rate:
        raise SystemExit(f"{path} went wrong:\n{said}")
    return float(rate[1])


def environment(directory: Path) -> dict[str, str]:
    made = {"DATA_DIR": str(directory), "SECRET_KEY": "bench" * 12, "ALLOWED_HOSTS": "*", "DEBUG": "off"}
    return made | {"SECURE_COOKIES": "off", "PROJECTIONS": "inline", "METRICS_DIR": str(directory / "metrics")}


def fill(events: int) -> tuple[str, str]:
    """A log of orders with its rows; returns a token that may see them, and the id of an order."""
    import django
    from django.core.management import call_command
    from django.db import connections

    os.environ["DJANGO_SETTINGS_MODULE"] = "config.settings"
    django.setup()
    from django.contrib.auth import get_user_model
    from knox.models import AuthToken

    from apps.orders.models import Order

    call_command("migrate", verbosity=0)
    made_up.fill(events)
    call_command("replay_events", no_progress=True, stdout=io.StringIO())
    made_up.mark_as_seen(events)
    token = AuthToken.objects.create(get_user_model().objects.create_superuser("bench"))[1]
    order = Order.objects.values_list("pk", flat=True)[0]
    connections.close_all()
    return token, str(order)


@contextmanager
def servers_here(directory: Path) -> Iterator[tuple[list[postgres.Server], list[str], str]]:
    """A primary that runs and two servers that do not yet, their hosts, and the URL of the primary."""
    made = [postgres.Server(directory / each) for each in ("primary", "first", "second")]
    url = made[0].start()
    try:
        yield made, [str(server.sockets) for server in made], url
    finally:
        made[0].remove()


def replica_url(url: str, hosts: list[str]) -> str:
    """The URL of the standbys among these hosts, of which the first is the primary; "" if there are none."""
    primary, *standbys = (host.replace("/", "%2F") for host in hosts)
    return url.replace(primary, ",".join(standbys)) if standbys else ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=30_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--share", type=float, help="of a processor, for each PostgreSQL, on a host of its own")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as name, ExitStack() as stack:
        directory = Path(name)
        made = hosts.servers(directory, given.share) if given.share else servers_here(directory)
        servers, where, url = stack.enter_context(made)
        os.environ |= environment(directory) | postgres.databases(url, "bench")
        token, order = fill(given.events)
        for standby in servers[1:]:
            standby.follow(where[0])
            standby.start()
            stack.callback(standby.remove)
        ports = []
        for number in range(3):
            os.environ["ORDERS_REPLICA_URL"] = replica_url(os.environ["ORDERS_DATABASE_URL"], where[: 1 + number])
            ports.append(free_port())
            started = process(*UVICORN, "config.asgi:application", "--port", str(ports[-1]), port=ports[-1])
            stack.enter_context(started)
        rows = {row: path.format(order=order) for row, path in ROWS.items()}
        report(*measure(rows, ports, servers, token, given), rounds=given.rounds)


Taken = dict[tuple[str, int], list[float]]


def measure(
    rows: dict[str, str], ports: list[int], servers: list[postgres.Server], token: str, given: argparse.Namespace
) -> tuple[Taken, dict[tuple[str, int], list[list[float]]]]:
    """Requests a second, and milliseconds of processor time of each server for a request, by row and replicas."""
    rates: Taken = {}
    work: dict[tuple[str, int], list[list[float]]] = {}
    for number in range(given.rounds + 1):
        for row, path in rows.items():
            for replicas, port in enumerate(ports):
                before = [processor_seconds(server) for server in servers]
                seconds = given.seconds if number else 2
                rate = ask(port, path, token, seconds)
                after = [processor_seconds(server) for server in servers]
                spent = [1000 * (b - a) / (rate * seconds) for a, b in zip(before, after, strict=True)]
                if sum(spent[1:]) < sum(spent) / 10 and replicas:
                    raise SystemExit(f"{path} was answered without its replicas")
                if number:  # the first round warms up
                    rates.setdefault((row, replicas), []).append(rate)
                    work.setdefault((row, replicas), []).append(spent)
    return rates, work


def report(rates: Taken, work: dict[tuple[str, int], list[list[float]]], *, rounds: int) -> None:
    print(f"\n| medians of {rounds} rounds | replicas | requests/s | primary, ms | first, ms | second, ms |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for (row, replicas), each in rates.items():
        spent = [statistics.median(server) for server in zip(*work[row, replicas], strict=True)]
        print(f"| {row} | {replicas} | {statistics.median(each):,.0f} | {' | '.join(f'{ms:.3f}' for ms in spent)} |")


if __name__ == "__main__":
    main()
