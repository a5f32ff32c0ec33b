"""One contender of `make bench-replay`, in a process of its own.

Prints JSON: events, seconds, peak memory in MB, and the processor seconds of this process and the database server.
"""

import contextlib
import json
import multiprocessing
import os
import resource
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any
from uuid import UUID

LOOP = 3000  # events of the two that take one at a time; their rate does not depend on how many there are
FETCH = 2000
RAW = (
    "SELECT position, event_id, stream, stream_version, type, schema_version, {0}, recorded_at FROM eventlog_event"
    " ORDER BY stream, stream_version"
)

Row = tuple[Any, ...]
Measured = tuple[int, float, float]


def _rows() -> Iterator[Row]:
    """Every event in stream order, as the driver gives it: with `recorded_at` as a datetime, JSON as text."""
    from django.db import connections

    connection = connections["eventlog"]
    connection.ensure_connection()
    if connection.vendor == "sqlite":
        yield from connection.connection.execute(RAW.format("data, metadata"))
        return
    with connection.connection.transaction(), connection.connection.cursor("bench", binary=True) as cursor:
        cursor.itersize = FETCH
        cursor.execute(RAW.format("data::text, metadata::text"))
        yield from cursor


def timed(work: Callable[[], int]) -> Measured:
    began, busy = time.perf_counter(), cpu_seconds()
    events = work()
    return events, time.perf_counter() - began, cpu_seconds() - busy


def cpu_seconds() -> float:
    """Processor seconds so far of this process, its children, and all processes of PostgreSQL."""
    from django.db import connections

    mine = os.times()
    seconds = mine.user + mine.system + mine.children_user + mine.children_system
    if connections["eventlog"].vendor == "postgresql":
        with connections["eventlog"].cursor() as cursor:
            cursor.execute("SELECT pg_backend_pid()")
            postmaster = int(_stat(cursor.fetchone()[0])[1])
            had = _stat(postmaster)[11:15]  # those that have ended are with it
            for backend in Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text().split():
                with contextlib.suppress(FileNotFoundError):
                    had += _stat(int(backend))[11:13]
        seconds += sum(map(int, had)) / os.sysconf("SC_CLK_TCK")
        connections["eventlog"].close()  # some contenders fork
    return seconds


def _stat(process: int) -> list[str]:
    """The fields of /proc/PID/stat from the third, see proc(5)."""
    return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()


def raw_bytes() -> Measured:
    return timed(lambda: sum(1 for _ in _rows()))


def raw_decoded() -> Measured:
    import msgspec

    def work() -> int:
        count, decode, convert = 0, msgspec.json.decode, msgspec.convert
        for _, event_id, _, _, _, _, data, metadata, _ in _rows():
            if type(event_id) is str:
                convert(event_id, UUID)
            decode(data)
            decode(metadata)
            count += 1
        return count

    return timed(work)


def raw_at_once() -> Measured:
    """Two processes that share nothing each read all events: so much can a second core give at most."""

    def work() -> int:
        with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("fork")) as pool:
            return sum(task.result()[0] for task in [pool.submit(raw_decoded) for _ in range(2)])

    return timed(work)


def headrace(workers: int) -> Measured:
    from apps.eventlog.replay.rebuild import rebuild
    from apps.orders.read.projectors import OrderProjector

    return timed(lambda: rebuild(OrderProjector, workers=workers))


def plain_loop() -> Measured:
    """The usual way: one `update_or_create` for each event."""
    from apps.eventlog import store
    from apps.orders.models import Order

    statuses = {"Paid": "paid", "Shipped": "shipped", "Delivered": "delivered", "Cancelled": "cancelled"}

    def work() -> int:
        for recorded in store.read_all(limit=LOOP):
            fields: dict[str, Any] = {"version": recorded.stream_version, "updated_at": recorded.recorded_at}
            step = recorded.type.removeprefix("orders.Order")
            if step == "Placed":
                event: Any = recorded.event
                fields |= {"customer_id": event.customer_id, "currency": event.currency, "total": str(event.total)}
                fields |= {"lines": recorded.data["lines"], "status": "placed", "placed_at": recorded.recorded_at}
                fields |= {"placed_position": recorded.position}
            else:
                fields |= recorded.data if step in ("Paid", "Shipped") else {}
                fields["status"] = statuses[step]
            Order.objects.update_or_create(id=recorded.stream_id, defaults=fields)
        return LOOP

    Order.objects.all().delete()
    return timed(work)


def pyeventsourcing() -> Measured:
    from eventsourcing.projection import ProjectionRunner

    from benchmarks.replay import pyeventsourcing_orders as theirs

    env, view = theirs.environment()
    application = theirs.Orders(env)
    theirs.fill(application, LOOP)
    last = application.recorder.max_notification_id()
    if "popo" in env["PERSISTENCE_MODULE"]:
        theirs.Orders.construct_recorder = lambda self: application.recorder  # type: ignore[method-assign]
    began, busy = time.perf_counter(), cpu_seconds()
    classes: dict[str, Any] = {"application_class": theirs.Orders, "projection_class": theirs.OrderProjection}
    with ProjectionRunner(**classes, view_class=view, env=env) as runner:
        while (runner.view.max_tracking_id(application.name) or 0) < last:
            time.sleep(0.02)
        seconds, cpu = time.perf_counter() - began, cpu_seconds() - busy
    application.close()
    return LOOP, seconds, cpu


CONTENDERS: dict[str, Callable[[], Measured]] = {
    "raw driver, bytes only": raw_bytes,
    "raw driver, decoded": raw_decoded,
    "raw driver, decoded, 2 processes at once": raw_at_once,
    "Headrace, 1 process": lambda: headrace(1),
    "Headrace, 2 processes": lambda: headrace(2),
    f"plain Django loop (first {LOOP:,})": plain_loop,
    f"pyeventsourcing ({LOOP:,})": pyeventsourcing,
}


def main() -> None:
    import django

    django.setup()
    events, seconds, cpu = CONTENDERS[sys.argv[1]]()
    status = Path("/proc/self/status").read_text()
    peak = int(status.split("VmHWM:")[1].split()[0])  # unlike ru_maxrss, not that of the process that started this one
    peak = max(peak, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
    print(json.dumps({"events": events, "seconds": seconds, "cpu": cpu, "peak": peak // 1024}))


if __name__ == "__main__":
    main()
