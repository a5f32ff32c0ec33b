"""`make bench-workers`: events a second that one worker projects, and two workers on the same service.

A log of orders waits for the projectors of `orders`. The workers are processes (`run_projectors`). The clock starts
when the first checkpoint moves and ends when the last one is at the end of the log, so their start does not count.
Rounds in turns, medians. An event that two projectors take counts twice.
"""

import argparse
import statistics
import subprocess
import sys
import time
from contextlib import ExitStack

from benchmarks import made_up, site

SERVICE = "orders"


def project(workers: int, events: int) -> tuple[float, list[int]]:
    """Let so many workers project everything; returns events a second, and how many events each worker took."""
    forget(events)
    command = [sys.executable, "manage.py", "run_projectors", "--service", SERVICE, "--report", "0.2"]
    with ExitStack() as stack:
        processes = []
        for _ in range(workers):
            process = subprocess.Popen(command, cwd=site.ROOT, stdout=subprocess.PIPE, text=True)
            stack.callback(process.kill)
            processes.append(process)
        began, ended = 0.0, 0.0
        while not ended:
            positions = reached()
            if any(positions) and not began:
                began = time.monotonic()
            if all(position == events for position in positions):
                ended = time.monotonic()
            time.sleep(0.005)
        time.sleep(0.5)  # one more line of each worker
        for process in processes:
            process.terminate()
        taken = [sum_of_last_line(process.communicate(timeout=20)[0]) for process in processes]
    return sum(taken) / (ended - began), taken


def forget(events: int) -> None:
    """As if nothing had been projected yet; but reactors have seen everything."""
    from apps.eventlog.delivery import checkpoints
    from apps.eventlog.projectors import of_service
    from apps.eventlog.reactors import Reactor

    rows = checkpoints.checkpoint_model(SERVICE).objects
    rows.all().delete()
    rows.bulk_create(rows.model(name=kind.name, position=events) for kind in Reactor.registry.values())
    for model in {model for kind in of_service(SERVICE) for model in kind.models}:
        model._default_manager.all().delete()


def reached() -> list[int]:
    """The positions of the projectors that have something to do."""
    from apps.eventlog.delivery import checkpoints
    from apps.eventlog.projectors import of_service

    known = checkpoints.positions(SERVICE)
    return [known[kind.name] for kind in of_service(SERVICE) if "order" in kind.categories]


def sum_of_last_line(output: str) -> int:
    line = output.strip().splitlines()[-1]
    return sum(int(part.split()[-3]) for part in line.split("; ") if part.endswith("from here"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=60_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--db", choices=["sqlite", "postgres"], default="sqlite")
    given = parser.parse_args()
    with site.deployment(given.db):
        made_up.fill(given.events)
        rates: dict[int, list[float]] = {1: [], 2: []}
        shares = []
        for _ in range(given.rounds):
            for workers, each in rates.items():
                rate, taken = project(workers, given.events)
                each.append(rate)
                shares += [min(taken) / sum(taken)] if workers == 2 else []
        one, two = (statistics.median(each) for each in rates.values())
        print(f"\n{given.db}, {given.events:,} events, each for two projectors\n")
        print("| workers | events/s | of one worker |\n| --- | ---: | ---: |")
        print(f"| 1 | {one:,.0f} | 1.00 |\n| 2 | {two:,.0f} | {two / one:.2f} |")
        print(f"\nThe worker that took less took {statistics.median(shares):.0%} of the events.")


if __name__ == "__main__":
    main()
