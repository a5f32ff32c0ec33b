"""How long the admin's pages of events and orders take, in a short log and in a long one: `make bench-admin`.

Two processes, each with a log of its own size, answer the same requests in turn, so that other work
on the machine slows both. Prints medians, of the whole page and of its share in the database, and their ratio.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.site import ROOT
from tools import postgres

EVENTS, ORDERS = "/admin/eventlog/storedevent/", "/admin/orders/order/"


def pages(events: int) -> dict[str, str]:
    """The URL of each page to ask for, by what the page shows."""
    from apps.eventlog.models import StoredEvent

    last = StoredEvent.objects.last()
    middle = StoredEvent.objects.filter(position__lte=events // 2).last()
    assert last
    assert middle
    at = middle.recorded_at
    window = f"since={at:%Y-%m-%dT%H:%M:%S}&until={at.replace(minute=59):%Y-%m-%dT%H:%M:%S}"
    of_events = {
        "first page": "?",
        "a page in the middle": f"?p={middle.position}",
        "last page": last_page(EVENTS, "?"),
        "one category": "?category=order",
        "one category, last page": last_page(EVENTS, "?category=order"),
        "one type": "?type=orders.OrderCancelled",
        "one type, last page": last_page(EVENTS, "?type=orders.OrderCancelled"),
        "one stream": f"?q={middle.stream}",
        "an hour in the middle": f"?{window}",
        "one type, from an instant on": f"?type=orders.OrderCancelled&since={at:%Y-%m-%dT%H:%M:%S}",
        "one event": f"{middle.position}/change/",
    }
    of_orders = {
        "orders, first page": "?",
        "orders, a page in the middle": f"?p={middle.stream.partition('-')[2]}",
        "orders, last page": last_page(ORDERS, "?"),
        "orders, one status": "?status__exact=cancelled",
        "orders, one status, last page": last_page(ORDERS, "?status__exact=cancelled"),
        "one order": f"{middle.stream.partition('-')[2]}/change/",
    }
    return {name: EVENTS + page for name, page in of_events.items()} | {
        name: ORDERS + page for name, page in of_orders.items()
    }


def last_page(path: str, query: str) -> str:
    return browser().get(path + query).context["cl"].last


def browser() -> Any:
    from django.contrib.auth import get_user_model
    from django.test import Client

    client, users = Client(), get_user_model().objects
    client.force_login(users.filter(username="bench").first() or users.create_superuser("bench"))
    return client


def serve(events: int) -> None:
    """The child: fill a log, then answer each line (the name of a page) with the milliseconds it took."""
    import django
    from django.core.management import call_command

    django.setup()
    from django.db import connections

    from benchmarks.made_up import fill

    call_command("migrate", verbosity=0)
    fill(events)
    call_command("replay_events", "--projector=OrderProjector", "--no-progress", stdout=sys.stderr)
    for alias in ("eventlog", "orders"):
        with connections[alias].cursor() as cursor:
            cursor.execute("ANALYZE")
    from django.test.utils import setup_test_environment

    setup_test_environment()  # responses keep their context
    todo, client, spent = pages(events), browser(), 0.0

    def timed(execute: Any, *arguments: Any) -> Any:
        nonlocal spent
        began = time.perf_counter()
        try:
            return execute(*arguments)
        finally:
            spent += time.perf_counter() - began

    print(json.dumps(list(todo)), flush=True)
    for line in sys.stdin:
        began, spent = time.perf_counter(), 0.0
        with connections["eventlog"].execute_wrapper(timed), connections["orders"].execute_wrapper(timed):
            answer = client.get(todo[json.loads(line)])
        assert answer.status_code == 200
        print(json.dumps([1000 * (time.perf_counter() - began), 1000 * spent]), flush=True)


def child(events: int, directory: Path, urls: dict[str, str]) -> subprocess.Popen[str]:
    directory.mkdir()
    environment = os.environ | urls | {"DATA_DIR": str(directory), "DJANGO_SETTINGS_MODULE": "config.settings"}
    environment |= {"SECRET_KEY": "bench" * 12, "ALLOWED_HOSTS": "*", "DEBUG": "off", "SECURE_COOKIES": "off"}
    command = [sys.executable, "-m", "benchmarks.admin.pages", "--serve", str(events)]
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def ask(process: subprocess.Popen[str], page: str) -> tuple[float, float]:
    assert process.stdin
    assert process.stdout
    process.stdin.write(json.dumps(page) + "\n")
    process.stdin.flush()
    whole, database = json.loads(process.stdout.readline())
    return whole, database


def measure(children: list[subprocess.Popen[str]], rounds: int) -> dict[str, list[tuple[float, float]]]:
    """Medians by page: for each child (whole, database), in milliseconds."""
    names = [json.loads(each.stdout.readline()) for each in children if each.stdout].pop()
    taken: dict[str, list[list[tuple[float, float]]]] = {name: [[] for _ in children] for name in names}
    for number in range(rounds + 1):
        for name in names:
            for times, process in zip(taken[name], children, strict=True):
                time_ = ask(process, name)
                if number:  # the first round warms up
                    times.append(time_)
    return {
        name: [(statistics.median(w for w, _ in each), statistics.median(d for _, d in each)) for each in times]
        for name, times in taken.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, nargs=2, default=[10_000, 1_000_000], metavar=("FEW", "MANY"))
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--db", choices=["sqlite", "postgres"], default="sqlite")
    parser.add_argument("--serve", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve:
        serve(given.serve)
        return
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as directory:
        server = postgres.Server(Path(directory, "postgres"))
        url = server.start() if given.db == "postgres" else ""
        children = [
            child(events, Path(directory, str(events)), postgres.databases(url, f"bench_{events}") if url else {})
            for events in given.events
        ]
        try:
            found = measure(children, given.rounds)
        finally:
            for each in children:
                each.kill()
                each.wait()
            if url:
                server.remove()
    few, many = (f"{events:,} events, ms" for events in given.events)
    print(f"\n| {given.db} | {few} (database) | {many} (database) | ratio |\n| --- | ---: | ---: | ---: |")
    for name, [(one, one_db), (other, other_db)] in found.items():
        print(f"| {name} | {one:.1f} ({one_db:.1f}) | {other:.1f} ({other_db:.1f}) | {other / one:.2f} |")


if __name__ == "__main__":
    main()
