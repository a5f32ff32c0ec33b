"""Many writers and a follower at once, for real: threads, each with its own connection."""

import random
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from itertools import count, takewhile
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.db import DatabaseError, connections

from apps.eventlog import store
from apps.eventlog.events import RecordedEvent
from tests.eventlog.events import Counted
from tests.journeys.deployment import eventually
from tests.support import checker
from tests.support.checker import History
from tests.support.threads import in_threads, open_append

WRITERS = 8


def test_of_fifty_writers_with_one_expected_version_one_wins() -> None:
    def race(index: int) -> bool:
        try:
            store.append("thing-1", [Counted(index)], expected_version=0)
        except store.WrongExpectedVersion:
            return False
        return True

    won = in_threads(50, race)
    assert won.count(True) == 1
    [event] = store.read_stream("thing-1")
    assert event.data["n"] == won.index(True)


def test_fifty_retries_of_one_append_are_one_event() -> None:
    ids = [uuid4()]
    answers = in_threads(50, lambda _: store.append("thing-1", [Counted(1)], expected_version=0, event_ids=ids))
    assert len(set(answers)) == 1
    assert store.head() >= 1
    assert len(list(store.read_all())) == 1


def test_many_writers_and_a_follower_keep_every_promise() -> None:
    history, log = follow_writers(lambda after: store.read_all(after=after), seconds=2.0)
    assert checker.faults(history, log) == []
    assert len(log) > 50


@pytest.mark.postgres
def test_the_same_check_catches_a_naive_follower() -> None:
    def naive(after: int) -> Iterator[RecordedEvent]:
        return iter(store.read_page(after=after, end=2**62, limit=store.PAGE))

    history, log = follow_writers(naive, seconds=2.0)
    assert checker.followed(history, log)
    assert checker.faults(history, log) == checker.followed(history, log)


def follow_writers(
    read: Callable[[int], Iterator[RecordedEvent]], seconds: float
) -> tuple[History, list[RecordedEvent]]:
    """Follow the log by `read` while writers append, slowly and with rollbacks; returns what was seen and the log."""
    done, history, seen = threading.Event(), History(), [0]
    deadline = time.monotonic() + seconds

    def follow() -> None:
        try:
            while True:
                last_round = done.is_set()
                seen.extend(recorded.position for recorded in read(seen[-1]))
                if last_round:
                    return
                done.wait(0.001)
        finally:
            connections.close_all()

    follower = threading.Thread(target=follow)
    follower.start()
    try:
        in_threads(WRITERS, lambda index: write(history, index, deadline))
    finally:
        done.set()
        follower.join()
    history.followers["follower"] = [seen[1:]]
    return history, store.read_page(after=0, end=2**62, limit=10**6)


def write(history: History, index: int, deadline: float) -> None:
    """Append to streams of one's own until the deadline; a fifth of it is rolled back."""
    chance = random.Random(index)
    versions: dict[str, int] = defaultdict(int)
    for number in takewhile(lambda _: time.monotonic() < deadline, count(index * 1_000_000, step=3)):
        stream = f"thing-{index}x{chance.randrange(5)}"
        events = [Counted(number + n) for n in range(chance.randint(1, 3))]
        call = history.call(str(number), *events, stream=stream, expected_version=versions[stream])
        try:
            with store.unit():
                appended = store.append(stream, events, expected_version=versions[stream])
                if connections["eventlog"].vendor == "postgresql":
                    time.sleep(chance.random() * 0.02)  # a slow commit, its position taken already
                if chance.random() < 0.2:
                    raise InterruptedError
        except InterruptedError:
            call.end("fail")
        else:
            versions[stream] = appended.version
            call.end("ok", (stream, appended.version, appended.position))


@pytest.mark.postgres
def test_an_open_append_holds_the_safe_position_and_its_end_frees_it() -> None:
    store.append("thing-1", [Counted(1)], expected_version=0)
    with open_append("thing-2", Counted(2)):
        store.append("thing-3", [Counted(3)], expected_version=0)
        assert (store.head(), store.safe_position()) == (3, 1)
        assert [recorded.position for recorded in store.read_all()] == [1]
    assert store.safe_position() == 3
    assert [recorded.position for recorded in store.read_all()] == [1, 2, 3]


@pytest.mark.postgres
def test_following_under_an_older_snapshot_is_refused() -> None:
    with pytest.raises(DatabaseError, match="READ COMMITTED"), store.unit():
        connections["eventlog"].cursor().execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        store.safe_position()


@pytest.mark.postgres
@pytest.mark.parametrize("unit", [nullcontext, store.unit])
def test_a_lost_race_is_told_apart_from_a_repeat_alone_and_in_a_unit(unit: Callable[[], Any]) -> None:
    """The winner commits while the losers wait for its stream."""
    ids = [uuid4()]
    inserted, release = threading.Event(), threading.Event()

    def win() -> store.Appended:
        with store.unit():
            won = store.append("thing-1", [Counted(1)], expected_version=0, event_ids=ids)
            inserted.set()
            release.wait(timeout=30)
        return won

    def lose(event_ids: list[UUID]) -> Any:
        inserted.wait(timeout=30)
        with unit():
            try:
                return store.append("thing-1", [Counted(1)], expected_version=0, event_ids=event_ids)
            except store.WrongExpectedVersion as lost:
                return lost.actual

    def let_go() -> None:
        eventually(lambda: waiting() == 2)
        release.set()

    work: list[Callable[[], Any]] = [win, lambda: lose(ids), lambda: lose([uuid4()]), let_go]
    won, repeated, lost, _ = in_threads(4, lambda index: work[index]())
    assert (repeated, lost) == (won, 1)


def waiting() -> int:
    """How many sessions wait for another's transaction to end."""
    with connections["eventlog"].cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype IN ('transactionid', 'advisory')")
        return cursor.fetchone()[0]
