"""Threads that wait for each other share one commit on SQLite, and each still gets its own answer."""

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import pytest
from django.db import DatabaseError, connections

from apps.eventlog import store
from apps.eventlog.log import group_commit, sqlite
from tests.eventlog.events import Counted
from tests.journeys.deployment import eventually

pytestmark = pytest.mark.sqlite

Work = Callable[[], Any]


def together(*works: Work) -> list[Any]:
    """What each of these appends returned or raised, if they waited for one turn together."""

    def run(work: Work) -> Any:
        try:
            return work()
        finally:
            connections.close_all()

    with ThreadPoolExecutor(len(works)) as pool:
        with sqlite.appends._turn:
            pending: list[Future[Any]] = []
            for number, work in enumerate(works, start=1):
                pending.append(pool.submit(run, work))
                eventually(lambda number=number: len(sqlite.appends._waiting) == number)  # type: ignore[misc]
        return [each.exception() or each.result() for each in pending]


def appending(stream: str, number: int = 1, **options: Any) -> Work:
    return lambda: store.append(stream, [Counted(n) for n in range(number)], **{"expected_version": 0} | options)


@pytest.fixture
def groups(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of the groups that were committed."""
    sizes: list[int] = []
    commit = group_commit._commit

    def counting(connection: Any, group: list[group_commit.Request]) -> None:
        sizes.append(len(group))
        commit(connection, group)

    monkeypatch.setattr(group_commit, "_commit", counting)
    return sizes


def test_appends_that_wait_are_one_transaction_and_keep_their_order(groups: list[int]) -> None:
    answers = together(*(appending(f"thing-{n}", n) for n in range(1, 6)))
    assert groups == [5]
    assert [answer.version for answer in answers] == [1, 2, 3, 4, 5]
    assert [position for answer in answers for position in answer.positions] == list(range(1, 16))
    assert [event.stream for event in store.read_all()] == [f"thing-{n}" for n in range(1, 6) for _ in range(n)]


def test_one_that_is_refused_does_not_touch_the_others(groups: list[int]) -> None:
    taken, again = uuid4(), uuid4()
    store.append("thing-1", [Counted(1)], expected_version=0, event_ids=[taken])
    store.append("thing-7", [Counted(0)], expected_version=0, event_ids=[again])
    answers = together(
        appending("thing-2"),
        appending("thing-1"),
        appending("thing-3", event_ids=[taken]),
        appending("thing-7", event_ids=[again]),
        appending("thing-2"),
        appending("thing-2", expected_version=1),
        appending("thing-4", expected_version=store.EXISTS),
    )
    assert groups == [1, 1, 7]
    wrong = store.WrongExpectedVersion
    assert [type(answer) for answer in answers] == [
        store.Appended, wrong, store.EventIdTaken, store.Appended, wrong, store.Appended, wrong
    ]  # fmt: skip
    assert [event.stream for event in store.read_all()] == ["thing-1", "thing-7", "thing-2", "thing-2"]


def test_what_fails_for_want_of_space_is_told_to_who_waits_and_is_not_in_the_log() -> None:
    """Whoever commits can write only a few pages."""
    store.append("thing-0", [Counted(0)], expected_version=0)

    def with_little_space(work: Work) -> Work:
        def limited() -> Any:
            with connections["eventlog"].cursor() as cursor:
                [pages] = cursor.execute("PRAGMA page_count").fetchone()
                cursor.execute(f"PRAGMA max_page_count = {pages + 50}")
            return work()

        return limited

    works = [appending("thing-1"), appending("thing-2", 20_000), appending("thing-3")]
    answers = together(*map(with_little_space, works))
    said = {f"thing-{n}" for n, answer in enumerate(answers, start=1) if isinstance(answer, store.Appended)}
    assert isinstance(answers[1], DatabaseError)
    assert "full" in str(answers[1])
    assert {event.stream for event in store.read_all()} == said | {"thing-0"}


def test_an_error_of_the_commit_is_an_error_of_all(groups: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process holds the lock for longer than they wait."""
    monkeypatch.setattr(type(connections["eventlog"]), "lock_timeout", 0.05)
    held, release = threading.Event(), threading.Event()

    def hold() -> None:
        with store.unit():
            held.set()
            release.wait(30)
        connections.close_all()

    with ThreadPoolExecutor(1) as holder:
        ended = holder.submit(hold)
        held.wait(30)
        answers = together(appending("thing-1"), appending("thing-2"))
        release.set()
        ended.result()
    assert groups == [2]
    assert [str(answer) for answer in answers] == ["database is locked"] * 2
    assert answers[0] is not answers[1]
    assert store.is_empty()


def test_an_append_of_a_unit_does_not_leave_it(groups: list[int]) -> None:
    with store.unit():
        appending("thing-1")()
        appending("thing-2")()
    assert groups == []
    assert store.head() == 2
