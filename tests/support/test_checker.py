"""The history checker passes a sound run and catches every bug planted in one: in what was seen, and in the code."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from functools import partial
from typing import Any
from uuid import UUID, uuid4

import msgspec
import pytest
from django.db import connections, transaction

from apps.eventlog import store
from apps.eventlog.delivery import checkpoints, projecting
from apps.eventlog.delivery.dead_letters import DeadLetters, dead_letters_of, deliver
from apps.eventlog.events import DomainEvent, RecordedEvent
from apps.eventlog.projectors import Projector, of_service, services
from apps.orders.events import OrderCancelled, OrderLine, OrderPaid, OrderPlaced
from apps.orders.read.projectors import SummaryProjector
from apps.users.events import UserEmailChanged, UserRegistered, UserRenamed
from apps.users.read.projectors import UserProjector
from tests.support import checker
from tests.support.checker import Call, History
from tests.support.erase import lifted
from tests.support.fold import folded, projected
from tests.support.history import forget_rows, make_history

Log = list[RecordedEvent]


def send(history: History, key: str, stream: str, *events: DomainEvent, expected: int) -> Call:
    """Append, and note what came of it."""
    call = history.call(key, *events, stream=stream, expected_version=expected)
    try:
        done = store.append(stream, events, expected_version=expected)
    except store.WrongExpectedVersion:
        call.end("fail")
    else:
        call.end("ok", (stream, done.version, done.position))
    return call


def sound() -> tuple[History, Log]:
    """A run in which everything went well: seven events, a refusal, a call without an answer."""
    history, ann, bob, order = History(), f"user-{uuid4()}", f"user-{uuid4()}", f"order-{uuid4()}"
    send(history, "ann", ann, UserRegistered("ann@example.org", "Ann"), expected=0)
    send(history, "both", ann, UserRenamed("Anna"), UserEmailChanged("anna@example.org"), expected=1)
    send(history, "bob", bob, UserRegistered("ann@example.org", "Bob"), expected=0)
    send(history, "late", ann, UserRenamed("Too late"), expected=1)
    history.call("cut", UserRenamed("Who knows"))
    lines = (OrderLine("A-1", 1, Decimal(1)),)
    for version, event in enumerate(
        [OrderPlaced(uuid4(), "EUR", lines), OrderPaid("p"), OrderCancelled("no", "requested")]
    ):
        send(history, f"order {version}", order, event, expected=version)
    log = list(store.read_all())
    history.followers["reader"] = [[1, 2, 3], [], [3, 4, 5, 6, 7]]
    history.places = [checker.Place("Reader", n, 7) for n in (0, 3, 3, 7)] + [checker.Place("Reader", 0, 7, reset=True)]
    history.queries = [checker.Query(ann, 2, 3), checker.Query(bob, 3, 0)]
    history.prefixes = [log[:4]]
    return history, log


def test_a_sound_run_passes() -> None:
    assert checker.faults(*sound()) == []


def change(at: int, **columns: Any) -> Callable[[History, Log], None]:
    """Another value in an event of the log; `data` and `metadata` as JSON values."""
    for name in {"data", "metadata"} & set(columns):
        columns[f"_{name}"] = msgspec.Raw(msgspec.json.encode(columns.pop(name)))
    if "type" in columns:
        columns["_type"] = columns.pop("type")

    def plant(history: History, log: Log) -> None:
        log[at] = msgspec.structs.replace(log[at], **columns)

    return plant


def seen(*lives: list[int]) -> Callable[[History, Log], None]:
    return lambda history, log: history.followers.update(reader=list(lives))


def places(*positions: int, safe: int = 7) -> Callable[[History, Log], None]:
    return lambda history, log: history.places.extend(checker.Place("Other", n, safe) for n in positions)


def two_winners(history: History, log: Log) -> None:
    history.calls[3].result = "ok"


def sent_after_the_next(history: History, log: Log) -> None:
    history.calls[0].sent = history.calls[2].done + 1


def another_answer(history: History, log: Log) -> None:
    history.calls.append(replace(history.calls[0], answer=history.calls[1].answer))


Plant = Callable[[History, Log], Any]
CAUGHT: list[tuple[str, Plant, str]] = [
    ("an acknowledged event is lost", lambda history, log: log.pop(), "which is ok, is in the log 0 times"),
    ("one is there twice", lambda history, log: log.append(log[-1]), "is in the log 2 times"),
    ("one has another content", change(0, data={"email": "x", "name": "y"}), "which is ok, is in the log 0 times"),
    ("a refused one is there", change(1, data={"name": "Too late"}), "which is fail, is in the log 1 times"),
    ("nobody sent it", lambda history, log: history.calls.pop(0), "nobody sent users.UserRegistered at position 1"),
    ("half an append is there", lambda history, log: log.pop(2), "both is in the log in part"),
    ("a position comes twice", change(6, position=6), "position 6 follows 6"),
    ("a stream has a hole", change(2, stream_version=5), "has version 5"),
    ("a clock goes back", lambda h, log: change(1, recorded_at=log[0].recorded_at - timedelta(1))(h, log), "goes back"),
    ("a later call lies before", sent_after_the_next, "was acknowledged before it was sent"),
    ("two calls win one version", two_winners, "2 calls won version 1"),
    ("a follower skips one", seen([1, 2, 3, 5, 6, 7]), "reader saw 5 after 3"),
    ("a follower skips one as it restarts", seen([1, 2, 3], [5, 6, 7]), "reader went on at 5 after 3"),
    ("a follower sees one twice", seen([1, 2, 3, 3, 4, 5, 6, 7]), "reader saw 3 after 3"),
    ("a follower sees two the wrong way round", seen([1, 3, 2, 4, 5, 6, 7]), "reader saw 3 after 1"),
    ("a follower misses the end", seen([1, 2, 3, 4, 5, 6]), "never saw 1 events after 6"),
    ("a follower sees what is not there", seen([1, 2, 3, 4, 5, 6, 7, 8]), "reader saw 8 after 7"),
    ("a checkpoint is too far", places(1, 2, 8), "at 8, past the safe position 7"),
    ("a checkpoint goes back", places(5, 4), "went back from 5 to 4"),
    ("a query is stale", lambda history, log: history.queries.append(checker.Query(log[0].stream, 2, 1)), "as of 2"),
    ("a key has two answers", another_answer, "ann was answered [("),
    ("an order is shipped unpaid", change(5, type="orders.OrderShipped"), "OrderShipped after OrderPlaced"),
    ("two users have one address", change(2, type="users.UserRenamed"), "has the address of"),
    ("an event has changed", change(3, metadata={"actor": "forger"}), "the event at position 4 has changed"),
]


@pytest.mark.parametrize(("plant", "said"), [caught[1:] for caught in CAUGHT], ids=[caught[0] for caught in CAUGHT])
def test_what_must_not_be_seen_is_caught(plant: Plant, said: str) -> None:
    history, log = sound()
    plant(history, log)
    assert [fault for fault in checker.faults(history, log) if said in fault]


class Killed(Exception):
    """Stands for the end of the process."""


def step_apart(first: str) -> Callable[[str], None]:
    """A step of live delivery that commits rows and checkpoint each by itself; the first time it dies in between."""
    deaths = iter([Killed])

    def project(kind: type[Projector], events: Log, letters: DeadLetters) -> None:
        deliver(events, letters)
        letters.save()

    def step(service: str) -> None:
        for kind in of_service(service):
            place, _ = checkpoints.checkpoint_model(service).objects.get_or_create(name=kind.name)
            events = list(store.read_all(after=place.position, category=kind.categories))
            [letters] = dead_letters_of([kind()])
            place.position = store.safe_position()
            commits = [place.save, partial(project, kind, events, letters)]
            for commit in commits if first == "checkpoint" else reversed(commits):
                commit()
                for death in deaths if kind is SummaryProjector else ():
                    raise death

    return step


@pytest.mark.parametrize("first", ["rows", "checkpoint"])
def test_a_checkpoint_committed_apart_from_its_rows_is_caught(first: str) -> None:
    make_history()
    forget_rows()
    step = step_apart(first)
    with pytest.raises(Killed):
        step("orders")
    for service in services():
        step(service)
    assert checker.rows_differ(folded(), projected())


def test_the_same_death_in_delivery_as_it_is_leaves_no_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    make_history()
    forget_rows()
    monkeypatch.setattr(projecting, "failpoint", lambda name: (_ for _ in ()).throw(Killed))
    with pytest.raises(Killed):
        projecting.catch_up("orders")
    monkeypatch.undo()
    for service in services():
        projecting.catch_up(service)
    assert checker.rows_differ(folded(), projected()) == []


def test_a_projector_that_drops_one_event_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    names: list[UUID] = []

    def renamed(self: UserProjector, row: Any, event: UserRenamed, recorded: RecordedEvent) -> None:
        if names:
            row.name = event.name
        names.append(row.pk)

    monkeypatch.setattr(UserProjector, "renamed", renamed)
    make_history(users=40, commands=60)
    assert len(names) > 1
    [fault] = checker.rows_differ(folded(), projected())
    assert fault.startswith(f"users {names[0]}")


@contextmanager
def behind_the_applications_back() -> Iterator[Any]:
    """A cursor on the log for somebody who can lift the guards."""
    with transaction.atomic(using="eventlog"), connections["eventlog"].cursor() as cursor, lifted(cursor):
        yield cursor


@pytest.mark.sqlite
def test_a_row_forged_by_replace_is_caught() -> None:
    history, _ = sound()
    columns = "position, event_id, stream, stream_version, category, type, schema_version, metadata, recorded_at"
    with behind_the_applications_back() as cursor:
        cursor.execute(
            f"REPLACE INTO eventlog_event ({columns}, data)"
            f' SELECT {columns}, \'{{"name": "Forged"}}\' FROM eventlog_event WHERE position = 2'
        )
    assert_forgery_is_caught(history)


@pytest.mark.postgres
def test_a_row_forged_with_the_triggers_off_is_caught() -> None:
    history, _ = sound()
    with behind_the_applications_back() as cursor:
        cursor.execute('UPDATE eventlog_event SET data = \'{"name": "Forged"}\' WHERE position = 2')
    assert_forgery_is_caught(history)


def assert_forgery_is_caught(history: History) -> None:
    faults = checker.faults(history, list(store.read_all()))
    assert any(fault.startswith("users.UserRenamed of both, which is ok, is in the log 0 times") for fault in faults)
    assert "nobody sent users.UserRenamed at position 2" in faults
    assert "the event at position 2 has changed" in faults
