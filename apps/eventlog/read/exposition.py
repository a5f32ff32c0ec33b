"""What Prometheus scrapes: what the databases hold, and what the processes have counted.

A database that does not answer in time leaves its metrics out; `headrace_database_up` says so.
"""

from collections.abc import Iterable, Iterator
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import choose_encoder

from apps.eventlog.monitoring import instruments
from apps.eventlog.read.overview import LOG, Overview, overview, senders
from apps.eventlog.read.readers import sources

# Those that have no samples before the first of their kind; Prometheus shall know them nevertheless.
HISTOGRAMS = {
    "headrace_command_seconds": "From a command to its commit.",
    "headrace_query_seconds": "From a query to its answer.",
    "headrace_batch_seconds": "How long it took a reader to take a batch.",
}
REFUSALS = CounterMetricFamily("headrace_refusals", "Requests that were refused.", labels=["status"])


def exposition(accept: str) -> tuple[bytes, str]:
    """The metrics in the form that an Accept header asks for, and the content type of that form."""
    encode, content_type = choose_encoder(accept)
    return encode(_Once([*_from_databases(overview()), *_from_processes()])), content_type


class _Once:
    """What prometheus_client encodes: it asks a registry for metrics."""

    def __init__(self, metrics: list[Any]) -> None:
        self.metrics = metrics

    def collect(self) -> Iterable[Any]:
        return self.metrics


def _from_processes() -> Iterator[Any]:
    try:
        counted = list(instruments.counted())
    except OSError:
        counted = []
    yield from counted
    known = {metric.name for metric in counted}
    for name in HISTOGRAMS.keys() - known:
        yield HistogramMetricFamily(name, HISTOGRAMS[name])
    if REFUSALS.name not in known:
        yield REFUSALS


def _from_databases(seen: Overview) -> Iterator[Any]:
    up = GaugeMetricFamily("headrace_database_up", "1 if it answered in time, else 0.", labels=["database"])
    for name in (LOG, *sources()):
        up.add_metric(["eventlog" if name == LOG else name], float(name not in seen.away))
    yield up
    yield from _of_the_log(seen)
    yield from _of_readers(seen)
    yield from _of_replicas(seen)


def _of_the_log(seen: Overview) -> Iterator[Any]:
    if (log := seen.log) is None:
        return
    values = {
        "headrace_log_position": ("The position of the last event.", log.head),
        "headrace_log_safe_position": ("The position up to which readers may read.", log.safe.position),
        "headrace_log_oldest_mark_seconds": ("How long the oldest in-flight mark has stood.", log.oldest_mark),
        "headrace_seal_position": ("The position up to which the log is sealed.", log.sealed),
        "headrace_seal_age_seconds": ("Since the last seal, or if there is none, since the first event.", log.seal_age),
    }
    for name, (text, value) in values.items():
        yield GaugeMetricFamily(name, text, value)


def _of_readers(seen: Overview) -> Iterator[Any]:
    labels = ["service", "reader"]
    letters = GaugeMetricFamily("headrace_dead_letters", "Events set aside that nobody has settled.", labels=labels)
    back = GaugeMetricFamily("headrace_log_went_back", "1 if its place is not in the log, else 0.", labels=labels)
    lag = GaugeMetricFamily("headrace_reader_lag_events", "How many events it has yet to take.", labels=labels)
    late = GaugeMetricFamily("headrace_reader_lag_seconds", "How long the oldest of these has waited.", labels=labels)
    taken = CounterMetricFamily("headrace_reader_events", "Events that it has taken, of all times.", labels=labels)
    for reader, at in seen.readers:
        letters.add_metric(reader.key, reader.dead_letters)
        back.add_metric(reader.key, float(reader.stopped or bool(at and at.went_back)))
        if at:
            lag.add_metric(reader.key, at.lag_events)
            late.add_metric(reader.key, at.lag_seconds)
            taken.add_metric(reader.key, at.events)
    for key, sender in senders(seen):
        letters.add_metric(key, sender.get("dead_letters", 0))
        back.add_metric(key, float(sender["log_went_back"]))
        lag.add_metric(key, sender["lag_events"])
        late.add_metric(key, sender["lag_seconds"])
    yield from (letters, back, lag, late, taken)


def _of_replicas(seen: Overview) -> Iterator[Any]:
    labels = ["service"]
    up = GaugeMetricFamily(
        "headrace_replica_up", "1 if it answered in time; else queries read elsewhere.", labels=labels
    )
    lag = GaugeMetricFamily("headrace_replica_lag_events", "How many events its rows do not show yet.", labels=labels)
    late = GaugeMetricFamily("headrace_replica_lag_seconds", "How long the oldest of these has waited.", labels=labels)
    for each in seen.replicas:
        up.add_metric([each["service"]], float(not each["away"]))
        if each["lag_events"] is not None:
            lag.add_metric([each["service"]], each["lag_events"])
            late.add_metric([each["service"]], each["lag_seconds"])
    yield from (up, lag, late)
