"""Any sequence of appends, reads, deliveries, replays and restarts does what a list in memory does."""

import os
from datetime import timedelta
from itertools import chain
from typing import Any
from uuid import UUID

import pytest
from django.db import connections
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from apps.eventlog import store
from apps.eventlog.delivery import checkpoints, projecting
from apps.eventlog.events import DomainEvent, Place, RecordedEvent
from apps.eventlog.projectors import Projector, services
from apps.eventlog.replay import rebuild
from apps.users.events import UserDeactivated, UserEmailChanged, UserReactivated, UserRegistered, UserRenamed
from apps.users.read.projectors import UserProjector
from tests.support import checker
from tests.support.erase import erase
from tests.support.fold import folded, projected

EXAMPLES = int(os.environ.get("EXAMPLES", "5"))
STREAMS = [f"user-{UUID(int=n)}" for n in range(1, 4)]
KINDS = st.sampled_from(["UserProjector", "CustomerProjector"]).map(Projector.registry.get)
names = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=8)
changes = st.lists(
    st.one_of(
        names.map(UserRenamed), names.map(UserEmailChanged), names.map(UserDeactivated), st.just(UserReactivated())
    ),
    min_size=1,
    max_size=3,
)


class Log(RuleBasedStateMachine):
    """`events` is the model: (event id, stream, stream version, event), in the order of the world."""

    appends: Any = Bundle("appends")

    @initialize()
    def start(self) -> None:
        for alias in ("eventlog", *services()):
            erase(alias)
        self.events: list[tuple[UUID, str, int, DomainEvent]] = []
        self.history: list[RecordedEvent] = []
        self.ids = iter(range(1, 10_000))
        for number, stream in enumerate(STREAMS):
            self.write(stream, [UserRegistered(f"{number}@example.org", "")], [UUID(int=next(self.ids))], 0)

    def of(self, stream: str) -> list[tuple[UUID, str, int, DomainEvent]]:
        return [event for event in self.events if event[1] == stream]

    def write(self, stream: str, events: list[DomainEvent], ids: list[UUID], expected: int) -> store.Appended:
        done = store.append(stream, events, expected_version=expected, event_ids=ids, metadata={"by": stream})
        self.events += [(id, stream, expected + n, e) for n, (id, e) in enumerate(zip(ids, events, strict=True), 1)]
        return done

    @rule(target=appends, stream=st.sampled_from(STREAMS), events=changes)
    def append(self, stream: str, events: list[DomainEvent]) -> Any:
        ids, version = [UUID(int=next(self.ids)) for _ in events], len(self.of(stream))
        done = self.write(stream, events, ids, version)
        assert done.version == version + len(events)
        return stream, events, ids, done

    @rule(first=appends, ahead=st.integers(0, 2))
    def append_again(self, first: Any, ahead: int) -> None:
        stream, events, ids, done = first
        assert store.append(stream, events, expected_version=ahead, event_ids=ids) == done

    @rule(stream=st.sampled_from(STREAMS), events=changes, off=st.sampled_from([-2, -1, 1, 5]))
    def append_at_another_version(self, stream: str, events: list[DomainEvent], off: int) -> None:
        version = len(self.of(stream))
        with pytest.raises(store.WrongExpectedVersion) as refusal:
            store.append(stream, events, expected_version=version + off)
        assert refusal.value.actual == version

    @rule(first=appends, other=st.sampled_from(STREAMS))
    def append_an_event_id_that_is_taken(self, first: Any, other: str) -> None:
        ids = [first[2][0]]
        with pytest.raises(store.EventIdTaken):
            store.append(other, [UserRenamed("not these nine")], expected_version=len(self.of(other)), event_ids=ids)

    @rule(events=changes, others=changes, fails=st.booleans())
    def append_to_two_streams(self, events: list[DomainEvent], others: list[DomainEvent], fails: bool) -> None:
        before = list(self.events)
        try:
            with store.unit():
                for stream, some in ((STREAMS[0], events), (STREAMS[1], others)):
                    self.write(stream, some, [UUID(int=next(self.ids)) for _ in some], len(self.of(stream)))
                if fails:
                    raise InterruptedError
        except InterruptedError:
            self.events = before

    @rule(start=st.floats(0, 1), limit=st.integers(1, 7), streams=st.booleans())
    def read(self, start: float, limit: int, streams: bool) -> None:
        at = int(start * len(self.history))
        after = self.history[at - 1].position if at else 0
        assert list(store.read_all(after=after, limit=limit)) == self.history[at : at + limit]
        assert list(store.read_all(after=after, until=after + limit, category="user")) == [
            recorded for recorded in self.history[at:] if recorded.position <= after + limit
        ]
        if streams:
            ordered = sorted(self.history, key=lambda recorded: (recorded.stream, recorded.stream_version))
            head, ranges = store.head(), list(store.stream_ranges("user", limit))
            assert list(store.read_streams("user", until=head)) == ordered
            parts = [store.read_streams("user", until=head, first=first, end=end) for first, end in ranges]
            assert list(chain.from_iterable(parts)) == ordered

    @rule(stream=st.sampled_from(STREAMS), after=st.integers(0, 5), until=st.integers(0, 20))
    def read_one_stream(self, stream: str, after: int, until: int) -> None:
        own = [recorded for recorded in self.history if recorded.stream == stream]
        assert list(store.read_stream(stream, after_version=after)) == own[after:]
        assert list(store.read_stream(stream, until=until)) == [each for each in own if each.position <= until]

    @rule(back=st.integers(0, 20))
    def find_an_instant(self, back: int) -> None:
        for recorded in self.history[-1 - back : len(self.history) - back]:
            at = recorded.recorded_at
            assert store.position_at(at) == max(e.position for e in self.history if e.recorded_at <= at)
            assert store.position_at(at - timedelta(microseconds=1)) < recorded.position

    @rule()
    def restart(self) -> None:
        """A process knows nothing of the one before it: no connection, no lock."""
        connections.close_all()
        projecting._busy.clear()

    @rule(service=st.sampled_from(services()), batch=st.integers(1, 5))
    def deliver(self, service: str, batch: int) -> None:
        projecting.catch_up(service, batch)
        assert checkpoints.reached(service, store.head())

    @rule(kind=KINDS, batch=st.integers(1, 5))
    def replay(self, kind: type[Projector], batch: int) -> None:
        assert rebuild.rebuild(kind, batch=batch) == len(self.history)

    @rule(at=st.floats(0, 1), batch=st.integers(1, 5))
    def replay_into_the_past(self, at: float, batch: int) -> None:
        prefix = self.history[: int(at * len(self.history))]
        with rebuild.building_shadow_tables(UserProjector, batch) as (replay, [shadow]):
            replay.project_rest(prefix[-1].place if prefix else Place())
            rows = {str(row.pop("id")): row for row in shadow.model._default_manager.values()}
        assert rows == folded(prefix)["users"]

    @invariant()
    def the_log_holds_what_was_appended_and_never_changes(self) -> None:
        now = list(store.read_all())
        assert [(e.event_id, e.stream, e.stream_version, e.event) for e in now] == self.events
        assert now[: len(self.history)] == self.history
        assert checker.in_one_order(now) == []
        self.history = now

    @invariant()
    def rows_are_the_fold_of_what_was_delivered(self) -> None:
        rows = projected()
        reached = {
            name: position for service in services() for name, position in checkpoints.positions(service).items()
        }
        for table, kind in (("users", "UserProjector"), ("customers", "CustomerProjector")):
            assert rows[table] == folded(e for e in self.history if e.position <= reached[kind])[table]


def test_the_log_does_what_a_list_in_memory_does() -> None:
    profile = settings(
        max_examples=EXAMPLES,
        stateful_step_count=20,
        deadline=None,
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(Log, settings=profile)
