"""Long streams are not folded anew for each command, and nobody can tell."""

from collections import OrderedDict
from threading import Event, Lock, Thread, current_thread
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.db import connections

from apps.eventlog import snapshots, store
from apps.eventlog.aggregates import RuleBroken
from apps.eventlog.dispatch import dispatch
from apps.eventlog.events import RecordedEvent
from apps.users.events import UserRegistered, UserRenamed
from apps.users.write.aggregates import User
from apps.users.write.commands import DeactivateUser, EraseUser, RenameUser
from tests.support.erase import erase


def long_lived(id: UUID, names: int = snapshots.LONG, ids: Any = None) -> None:
    events = [UserRegistered("ann@example.org", "Ann"), *[UserRenamed(f"Ann {number}") for number in range(names)]]
    store.append(f"user-{id}", events, expected_version=0, event_ids=ids)


def state(user: User) -> dict[str, Any]:
    return {name: value for name, value in vars(user).items() if name != "last"}


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many events each load folds."""
    counts: list[int] = []
    fold = User.fold

    def counted(self: User, history: Any) -> User:
        events: list[RecordedEvent] = list(history)
        counts.append(len(events))
        return fold(self, events)

    monkeypatch.setattr(User, "fold", counted)
    return counts


def test_a_long_stream_is_folded_once_and_then_from_where_it_was(read: list[int]) -> None:
    ann = uuid4()
    long_lived(ann)
    for name in ("Bea", "Cleo"):
        dispatch(RenameUser(ann, name))
    assert read == [snapshots.LONG + 1, 1]
    assert state(snapshots.load(User, ann)) == state(User(ann).fold(store.read_stream(f"user-{ann}")))


def test_a_refused_command_leaves_no_trace_in_what_is_remembered() -> None:
    ann = uuid4()
    long_lived(ann)
    snapshots.load(User, ann).deactivate("not appended")
    assert snapshots.load(User, ann).active
    dispatch(DeactivateUser(ann, "left"))
    with pytest.raises(RuleBroken, match="only an active user can be renamed"):
        dispatch(RenameUser(ann, "Bea"))
    assert [recorded.event for recorded in store.read_stream(f"user-{ann}")][-1].__class__.__name__ == "UserDeactivated"


def test_another_log_than_the_one_remembered_is_folded_from_the_start() -> None:
    ann = uuid4()
    long_lived(ann)
    assert snapshots.load(User, ann).name == f"Ann {snapshots.LONG - 1}"
    for alias in connections:
        erase(alias)
    long_lived(ann, names=snapshots.LONG - 1)
    assert snapshots.load(User, ann).name == f"Ann {snapshots.LONG - 2}"
    dispatch(RenameUser(ann, "Bea"))
    assert snapshots.load(User, ann).name == "Bea"
    assert snapshots.load(User, ann).version == snapshots.LONG + 1


def test_who_is_erased_does_not_stay_in_memory_once_that_is_seen() -> None:
    ann = uuid4()
    long_lived(ann)
    snapshots.load(User, ann)
    dispatch(EraseUser(ann, "by letter"))
    assert snapshots.load(User, ann).erased
    assert f"user-{ann}" not in snapshots._kept


def test_short_streams_are_not_remembered_and_long_ones_only_so_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshots, "KEPT", 2)
    snapshots._kept.clear()
    short, *people = [uuid4() for _ in range(4)]
    long_lived(short, names=snapshots.LONG - 2)
    for number, person in enumerate(people):
        store.append(f"user-{person}", [UserRegistered(f"{number}@example.org", "X")], expected_version=0)
        store.append(f"user-{person}", [UserRenamed("Y")] * snapshots.LONG, expected_version=1)
    for person in (short, *people):
        snapshots.load(User, person)
    assert list(snapshots._kept) == [f"user-{person}" for person in people[1:]]


class Watched:
    """A lock that says when somebody begins to wait for it."""

    def __init__(self, waits: Event) -> None:
        self.lock, self.waits = Lock(), waits

    def __enter__(self) -> None:
        if not self.lock.acquire(blocking=False):
            self.waits.set()
            self.lock.acquire()

    def __exit__(self, *error: object) -> None:
        self.lock.release()


def test_a_snapshot_may_be_forgotten_while_another_thread_keeps_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """One thread sees that Ann was erased, and comes in between the two steps by which another remembers her."""
    ann, folding, keeping, stopped, fold = uuid4(), Event(), Event(), Event(), User.fold
    long_lived(ann)

    def slow_fold(self: User, history: Any) -> User:
        if current_thread() is not forgetful:
            return fold(self, history)
        folding.set()
        keeping.wait(timeout=30)
        self.erased = True
        return self

    def forget() -> None:
        try:
            snapshots.load(User, ann)
        finally:
            stopped.set()
            connections.close_all()

    class Interrupted(OrderedDict[str, Any]):
        def __setitem__(self, stream: str, user: Any) -> None:
            super().__setitem__(stream, user)
            keeping.set()
            assert stopped.wait(timeout=30)

    forgetful = Thread(target=forget)
    monkeypatch.setattr(User, "fold", slow_fold)
    monkeypatch.setattr(snapshots, "_lock", Watched(stopped))
    monkeypatch.setattr(snapshots, "_kept", Interrupted())
    forgetful.start()
    assert folding.wait(timeout=30)
    assert snapshots.load(User, ann).version == snapshots.LONG + 1
    forgetful.join()
    assert snapshots._kept == {}
