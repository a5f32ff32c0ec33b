"""`make bench-replay`: how fast a read model is rebuilt, beside the raw driver, a plain loop and pyeventsourcing.

A table for each engine and size: rounds in turns, medians, each contender in a process of its own. The log holds
made-up orders (`made_up.py`). The raw driver reads the same fields of the same events in stream order: once as it gives
them, once with ids, instants and JSON as values, which is the least that any replay has to do. `cores` is how many were
busy with a contender on average, with those of the database server.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks import made_up
from benchmarks.replay.contenders import CONTENDERS
from benchmarks.site import ROOT
from tools import postgres

CONTENDER = [sys.executable, "-m", "benchmarks.replay.contenders"]


def prepare(number: int) -> None:
    """Make tables, a full log, and checkpoints as if live delivery had taken all of it."""
    import django
    from django.core.management import call_command

    django.setup()

    call_command("migrate", verbosity=0)
    made_up.fill(number)
    made_up.mark_as_seen(number)


def measure(rounds: int) -> dict[str, dict[str, float]]:
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in CONTENDERS}
    for _ in range(rounds):
        for name, results in found.items():
            run = subprocess.run([*CONTENDER, name], cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
            results.append(json.loads(run.stdout.splitlines()[-1]))
    return {
        name: {
            "rate": statistics.median(result["events"] / result["seconds"] for result in results),
            "cores": statistics.median(result["cpu"] / result["seconds"] for result in results),
            "peak": max(result["peak"] for result in results),
        }
        for name, results in found.items()
    }


def report(engine: str, events: int, found: dict[str, dict[str, float]]) -> None:
    decoded, loop, other = ([each["rate"] for each in found.values()][index] for index in (1, -2, -1))
    print(f"\n| {engine}, {events:,} events | events/s | of raw, decoded | times the plain loop | times pyeventsourcing"
          " | cores | peak MB |\n| --- | ---: | ---: | ---: | ---: | ---: | ---: |")  # fmt: skip
    for name, each in found.items():
        rate = each["rate"]
        ratios = f"{rate / decoded:.2f} | {rate / loop:.0f} | {rate / other:.0f}"
        print(f"| {name} | {rate:,.0f} | {ratios} | {each['cores']:.2f} | {each['peak']:.0f} |", flush=True)


def run(number: int, rounds: int, db: str) -> None:
    """Print the table of one size. Django is set up once in a process, so each size has its own process."""
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as directory:
        os.environ |= {"DJANGO_SETTINGS_MODULE": "config.settings", "SECRET_KEY": "bench" * 12, "DEBUG": "off"}
        os.environ["DATA_DIR"] = directory
        server = postgres.Server(Path(directory, "postgres"))
        if db == "postgres":
            os.environ |= postgres.databases(server.start())
        try:
            prepare(number)
            report({"sqlite": "SQLite", "postgres": "PostgreSQL"}[db], number, measure(rounds))
        finally:
            if db == "postgres":
                server.remove()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, nargs="+", default=[200_000, 2_000_000])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--db", choices=["sqlite", "postgres"], default="sqlite")
    given = parser.parse_args()
    if len(given.events) == 1:
        run(given.events[0], given.rounds, given.db)
        return
    for number in given.events:
        options = [f"--events={number}", f"--rounds={given.rounds}", f"--db={given.db}"]
        subprocess.run([sys.executable, "-m", "benchmarks.replay.rebuild", *options], cwd=ROOT, check=True)


if __name__ == "__main__":
    main()
