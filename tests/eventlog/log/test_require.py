"""An append that depends on another stream: nothing of that stream lies between what was seen and what is appended."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connections

from apps.eventlog import store
from apps.eventlog.log.postgresql import PostgreSQL
from tests.eventlog.events import Counted
from tests.support.exported import document, import_documents
from tests.support.threads import in_threads, open_append

OTHER, OWN = "thing-other", "thing-own"


def append_seeing(version: int) -> store.Appended:
    """Append what says that the other stream is at a version, and depends on that."""
    with store.unit():
        store.require(OTHER, version)
        return store.append(OWN, [Counted(version)], expected_version=store.ANY)


def append_another() -> int:
    return store.append(OTHER, [Counted()], expected_version=store.ANY).position


def import_another() -> int:
    import_documents([document(stream=OTHER, position=store.last_position() + 1)])
    return next(store.read_stream(OTHER)).position


def beside(work: Callable[[], Any], pool: ThreadPoolExecutor) -> Future[Any]:
    def run() -> Any:
        try:
            return work()
        finally:
            connections.close_all()

    return pool.submit(run)


def wrong() -> list[int]:
    """The positions of events that say another version than the other stream has before them in the log."""
    version, found = 0, []
    for recorded in store.read_all():
        if recorded.stream == OTHER:
            version += 1
        elif recorded.data["n"] != version:
            found.append(recorded.position)
    return found


def test_the_version_is_required_and_nothing_is_left_if_it_is_another() -> None:
    append_seeing(0)
    append_another()
    with pytest.raises(store.WrongExpectedVersion, match=f"{OTHER} is at version 1, not 0"):
        append_seeing(0)
    assert append_seeing(1).version == 2
    with pytest.raises(RuntimeError, match="belongs into"):
        store.require(OTHER, 1)


def test_an_append_that_was_begun_before_is_waited_for() -> None:
    with ThreadPoolExecutor(1) as pool:
        with open_append(OTHER, Counted()):
            appended = beside(lambda: append_seeing(0), pool)
            with pytest.raises(TimeoutError):
                appended.result(timeout=0.2)
        with pytest.raises(store.WrongExpectedVersion):
            appended.result(timeout=30)
    assert wrong() == []


@pytest.mark.postgres
def test_a_look_that_waits_for_nobody_would_be_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    look = "SELECT coalesce(max(stream_version), 0) FROM eventlog_event WHERE stream = %s"
    monkeypatch.setattr(PostgreSQL, "held_version", lambda self, stream: self._row(look, stream)[0])
    with ThreadPoolExecutor(1) as pool, open_append(OTHER, Counted()):
        beside(lambda: append_seeing(0), pool).result(timeout=30)
    assert wrong() == [2]


@pytest.mark.parametrize("another", [append_another, import_another])
def test_what_comes_meanwhile_lies_behind(another: Callable[[], int]) -> None:
    with ThreadPoolExecutor(1) as pool:
        with store.unit():
            store.require(OTHER, 0)
            begun = beside(another, pool)
            with pytest.raises(TimeoutError):
                begun.result(timeout=0.2)
            own = store.append(OWN, [Counted(0)], expected_version=0).position
        assert begun.result(timeout=30) > own
    assert wrong() == []


def test_others_that_depend_on_the_same_stream_are_not_kept_waiting() -> None:
    """On PostgreSQL; SQLite has one writer at a time."""
    both = threading.Barrier(2)

    def depend(number: int) -> None:
        with store.unit():
            store.require(OTHER, 0)
            if connections["eventlog"].vendor == "postgresql":
                both.wait(timeout=30)
            store.append(f"{OWN}-{number}", [Counted(0)], expected_version=0)

    in_threads(2, depend)
    assert wrong() == []


def test_many_at_once_are_never_wrong() -> None:
    ends = time.monotonic() + 1.0

    def work(number: int) -> int:
        done = 0
        while time.monotonic() < ends:
            try:
                if number % 2:
                    last = store.last(OTHER)
                    append_seeing(last.stream_version if last else 0)
                else:
                    append_another()
                done += 1
            except store.WrongExpectedVersion:
                continue
        return done

    done = in_threads(4, work)
    assert min(sum(done[0::2]), sum(done[1::2])) > 0  # one of two that race may lose every time
    assert wrong() == []
