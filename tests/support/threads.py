"""Work in several threads at once, each with connections of its own: for tests of what happens side by side."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from django.db import connections

from apps.eventlog import store
from apps.eventlog.events import DomainEvent


def in_threads(number: int, work: Callable[[int], Any]) -> list[Any]:
    """Run `work(index)` in so many threads, started together; returns what each returned. Raises what one raises."""
    barrier = threading.Barrier(number)

    def run(index: int) -> Any:
        try:
            connections["eventlog"].ensure_connection()
            barrier.wait(timeout=30)
            return work(index)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(number) as pool:
        return list(pool.map(run, range(number)))


@contextmanager
def open_append(stream: str, event: DomainEvent) -> Iterator[None]:
    """Another thread has appended the first event of a stream, and commits it only when the block ends."""
    appended, release = threading.Event(), threading.Event()

    def append() -> None:
        try:
            with store.unit():
                store.append(stream, [event], expected_version=0)
                appended.set()
                release.wait(timeout=30)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(1) as thread:
        ended = thread.submit(append)
        try:
            assert appended.wait(timeout=30)
            yield
        finally:
            release.set()
            ended.result()
