"""`make bench-seals`: how fast a log is sealed and verified, and how far the sealer lags behind writers.

Rates are medians of rounds over one log. The lag is sampled while four writers append as fast as they can, beside a
`seal_events --follow` in a process of its own; the same load without it, in turns, shows what it takes from them.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

from benchmarks import made_up
from benchmarks.site import ROOT
from tools import postgres

WRITERS = 4
# Not ru_maxrss, which a child takes over from its parent.
PEAK = (
    "from django.core.management import call_command; call_command('verify_log');"
    "print(*[line for line in open('/proc/self/status') if line.startswith('VmHWM')])"
)


def rate(events: int, began: float) -> float:
    return events / (time.perf_counter() - began)


def raw_read() -> int:
    """The driver reads every event in the order of positions, its JSON as text."""
    from django.db import connections

    columns = (
        "position, event_id, stream, stream_version, type, CAST(data AS text), CAST(metadata AS text), recorded_at"
    )
    with connections["eventlog"].cursor() as cursor:
        cursor.execute(f"SELECT {columns} FROM eventlog_event ORDER BY position")
        return sum(1 for _ in cursor)


def rates(events: int, rounds: int) -> dict[str, float]:
    from apps.eventlog.models import Seal
    from apps.eventlog.sealing import leaves, seals, verify_log

    began, sealed = time.perf_counter(), 0
    while count := seals.seal_next():
        sealed += count
    assert sealed == events
    found: dict[str, list[float]] = {"raw driver, reading only": [], "verify_log, seals": [], "verify_log, streams": []}
    found = {"sealing": [rate(events, began)]} | found
    for _ in range(rounds):
        began = time.perf_counter()
        assert raw_read() == events
        found["raw driver, reading only"].append(rate(events, began))
        began = time.perf_counter()
        assert not list(verify_log.changed_events(Seal.objects.count()))
        found["verify_log, seals"].append(rate(events, began))
        began = time.perf_counter()
        assert not list(leaves.broken_streams())
        found["verify_log, streams"].append(rate(events, began))
    return {name: statistics.median(each) for name, each in found.items()}


@contextmanager
def sealer() -> Iterator[None]:
    """`seal_events --follow` in a process of its own; it has sealed everything when the block begins."""
    from apps.eventlog.sealing import seals

    process = subprocess.Popen([sys.executable, ROOT / "manage.py", "seal_events", "--follow"])
    try:
        while seals.unsealed():
            time.sleep(0.05)
        yield
    finally:
        process.terminate()
        process.wait()


def write(stop: threading.Event, counts: list[int]) -> None:
    from django.db import connections

    from apps.eventlog import store
    from apps.orders.events import OrderPaid

    stream, version = f"bench-{uuid4()}", 0
    while not stop.is_set():
        store.append(stream, [OrderPaid("p")], expected_version=version)
        version += 1
    counts.append(version)
    connections.close_all()


def lag() -> tuple[int, float]:
    """How many events are not sealed, and how many seconds ago the oldest of them was recorded."""
    from apps.eventlog import store
    from apps.eventlog.models import Seal

    until = Seal.objects.order_by("number").values_list("until", flat=True).last() or 0
    oldest = next(store.read_all(after=until, limit=1), None)
    return store.head() - until, (datetime.now(UTC) - oldest.recorded_at).total_seconds() if oldest else 0.0


def load(seconds: float, *, sealing: bool) -> tuple[float, list[tuple[int, float]]]:
    """Append for `seconds`; returns the appends a second and samples of the sealer's lag."""
    stop, counts, samples = threading.Event(), list[int](), list[tuple[int, float]]()
    with sealer() if sealing else nullcontext():
        writers = [threading.Thread(target=write, args=(stop, counts)) for _ in range(WRITERS)]
        began = time.perf_counter()
        for writer in writers:
            writer.start()
        while time.perf_counter() - began < seconds:
            time.sleep(0.1)
            samples.append(lag())
        stop.set()
        for writer in writers:
            writer.join()
        return rate(sum(counts), began), samples


def report(engine: str, events: int, rounds: int, seconds: float) -> None:
    found = rates(events, rounds)
    memory = subprocess.check_output([sys.executable, ROOT / "manage.py", "shell", "-v0", "-c", PEAK], text=True)
    print(f"\n{engine}, {events:,} events\n\n| | events/s | of the raw read |\n| --- | ---: | ---: |")
    for name, each in found.items():
        print(f"| {name} | {each:,.0f} | {each / found['raw driver, reading only']:.2f} |")
    alone, beside, samples = [], [], []
    for _ in range(rounds):
        alone.append(load(seconds, sealing=False)[0])
        appends, seen = load(seconds, sealing=True)
        beside.append(appends)
        samples += seen
    print(f"\n{WRITERS} writers: {statistics.median(alone):,.0f} appends/s without a sealer, with one ", end="")
    print(f"{statistics.median(beside):,.0f}; ratio {statistics.median(map(lambda a, b: b / a, alone, beside)):.2f}")
    for name, values in zip(("events", "seconds"), zip(*samples, strict=True), strict=True):
        print(f"lag in {name}: median {statistics.median(values):,.2f}, longest {max(values):,.2f}")
    print(f"peak memory of verify_log: {memory.split()[-2]} kB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=5.0, help="of each load")
    parser.add_argument("--db", choices=["sqlite", "postgres"], default="sqlite")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as directory:
        os.environ |= {"DJANGO_SETTINGS_MODULE": "config.settings", "SECRET_KEY": "bench" * 12, "DEBUG": "off"}
        os.environ["DATA_DIR"] = directory
        server = postgres.Server(Path(directory, "postgres"))
        if given.db == "postgres":
            os.environ |= postgres.databases(server.start())
        try:
            import django
            from django.core.management import call_command

            django.setup()
            call_command("migrate", verbosity=0)
            made_up.fill(given.events)
            report(given.db, given.events, given.rounds, given.seconds)
        finally:
            if given.db == "postgres":
                server.remove()


if __name__ == "__main__":
    main()
