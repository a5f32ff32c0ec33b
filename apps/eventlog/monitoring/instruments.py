"""What a process counts while it serves. `read/exposition.py` shows it, beside what the databases hold.

Only a server and a worker count: a command of `manage.py` ends before anybody could read its counts, and starts sooner
without prometheus_client.
"""

import logging
import threading
from collections.abc import Iterable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from django.conf import settings

from apps.eventlog.monitoring.later import later

logger = logging.getLogger(__name__)

# Seconds. A query takes some milliseconds; beyond ten seconds nobody waits for the answer.
BATCH = "headrace_batch_seconds"
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class Instruments(NamedTuple):
    """The metrics of a process, and where they are added up; `shared` is None if there are no files to share."""

    command: Any
    query: Any
    batch: Any
    streams: Any
    waiting: Any
    shared: Any


_making = threading.Lock()


def instruments() -> Instruments:
    """Made at the first use. Two threads may be at it at once, as a server starts; a name can be registered once."""
    with _making:
        return _made()


@cache
def _made() -> Instruments:
    """Without a folder that can be written to, the counts of each process stay its own."""
    from prometheus_client import Gauge, Histogram  # noqa: PLC0415

    from apps.eventlog.monitoring.shared_counts import SharedCounts  # noqa: PLC0415

    shared: SharedCounts | None = SharedCounts(Path(settings.METRICS_DIR) / _apart)
    try:
        shared.install()  # type: ignore[union-attr]
    except OSError as error:
        logger.warning("the metrics of each process stay its own: %s", error)
        shared = None
    return Instruments(
        Histogram("headrace_command_seconds", "From a command to its commit.", ["command", "outcome"], buckets=SECONDS),
        Histogram("headrace_query_seconds", "From a query to its answer.", ["route", "status"], buckets=SECONDS),
        Histogram(
            BATCH, "How long it took a reader to take a batch.", ["service", "reader"],
            buckets=SECONDS,
        ),
        Gauge("headrace_streams_open", "Live streams that are open.", multiprocess_mode="livesum"),
        Gauge(
            "headrace_pool_waiting", "Requests that wait for a thread.", ["pool"], multiprocess_mode="livesum"
        ),
        shared,
    )  # fmt: skip


_apart = ""


def keep_apart(name: str) -> None:
    """Count in a folder of its own, so that this process is a target of its own. To be called before it counts."""
    global _apart  # noqa: PLW0603
    _apart = name


def counted() -> Iterable[Any]:
    """The metrics of all processes that share their counts with this one. Raises OSError."""
    from prometheus_client import REGISTRY  # noqa: PLC0415

    shared = instruments().shared
    later.flush()
    return list(shared.collect() if shared else REGISTRY.collect())


def batch_durations() -> dict[tuple[str, str], float]:
    """The mean number of seconds for a batch, of each reader that has taken one here, by service and name."""
    sums: dict[str, dict[tuple[str, str], float]] = {"_sum": {}, "_count": {}}
    with suppress(OSError):
        for sample in [each for metric in counted() if metric.name == BATCH for each in metric.samples]:
            if (what := sample.name.removeprefix(BATCH)) in sums:
                sums[what][sample.labels["service"], sample.labels["reader"]] = sample.value
    return {key: sums["_sum"][key] / number for key, number in sums["_count"].items() if number}


def command(name: str, outcome: str, seconds: float) -> None:
    """A command has ended."""
    if settings.SERVES:
        with suppress(OSError):
            instruments().command.labels(name, outcome).observe(seconds)


def query(route: str, status: int, seconds: float) -> None:
    """A query has been answered."""
    if settings.SERVES:
        with suppress(OSError):
            instruments().query.labels(route, status).observe(seconds)


def batch(service: str, reader: str, seconds: float) -> None:
    """A projector has taken a batch of events, or a reactor one event."""
    if settings.SERVES:
        later.do(_batch, service, reader, seconds)


def _batch(service: str, reader: str, seconds: float) -> None:
    with suppress(OSError):
        instruments().batch.labels(service, reader).observe(seconds)


def streams(opened: int) -> None:
    """Count `opened` more live streams as open; a negative number means that some were closed."""
    if settings.SERVES:
        with suppress(OSError):
            instruments().streams.inc(opened)


def waiting(pool: str, requests: int) -> None:
    """So many requests wait for the threads of a pool."""
    if settings.SERVES:
        with suppress(OSError):
            instruments().waiting.labels(pool).set(requests)
