"""One batch that is delivered to readers, as the metrics and the traces of its events show it."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from time import perf_counter
from typing import Any

from apps.eventlog.monitoring import instruments, spans
from apps.eventlog.monitoring.origin import Origin


@contextmanager
def delivery(
    service: str, readers: Sequence[str], metadata: Iterable[Mapping[str, Any]] | None = None
) -> Iterator[None]:
    """Measure how long these readers take. `metadata` is that of the events that are projected together.

    If nothing is traced, the metadata is not looked at: to decode it for each event would slow a projector down.
    """
    began = perf_counter()
    traced = spans.tracing() and metadata is not None
    traces = [Origin.of_event(each).traceparent for each in metadata or ()] if traced else []
    with spans.batch("project", traces, service=service, readers=", ".join(readers)) if traced else nullcontext():
        yield
    for reader in readers:
        instruments.batch(service, reader, perf_counter() - began)
