"""However an endpoint answers and however often its courier restarts: every event, each stream in order."""

from collections import deque
from copy import copy
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from django.test import override_settings
from hypothesis import given, settings
from hypothesis import strategies as st

from apps.eventlog.events import Place
from apps.eventlog.relay.webhooks.messages import Answer, Message
from apps.eventlog.relay.webhooks.models import Delivery, Endpoint
from apps.eventlog.relay.webhooks.recipient import Recipient

pytestmark = pytest.mark.django_db(databases=[])  # only memory

NOW = datetime(2026, 11, 29, tzinfo=UTC)
# In `STEPS` up to 60 times 10,000 seconds go by. Until then each retry has one after it, which comes within an hour.
RETRIES = [5.0, 60.0, *(3600.0 * hours for hours in range(1, 200))]
TAKEN, REFUSED, SILENT = Answer(None, 204), Answer(None, 500, "the answer was 500"), Answer(None, None, "no answer")


def log_of(streams: list[int]) -> list[Message]:
    """A log with an event for each of these numbers of streams."""
    versions: dict[int, int] = {}
    log = []
    for position, stream in enumerate(streams, start=1):
        versions[stream] = versions.get(stream, 0) + 1
        place = Place(position, UUID(int=position))
        log.append(Message(place, f"counter-{stream}", versions[stream], "x", NOW, b"{}"))
    return log


class Simulation:
    """A courier's work for one endpoint, with a log and a database in memory, and a clock of its own."""

    def __init__(self, log: list[Message]) -> None:
        self.log, self.now = log, NOW
        self.written: tuple[Place, int, list[Delivery]] = (Place(), 0, [])
        self.got: list[int] = []
        self.restart()

    def restart(self) -> None:
        place, failures, deliveries = self.written
        endpoint = Endpoint(position=place.position, event_id=place.event_id, failures=failures)
        self.recipient = Recipient(endpoint, [copy(delivery) for delivery in deliveries], [])
        self.on_their_way: list[Message] = []

    def write(self) -> None:
        self.recipient.window.settle()
        held = self.recipient.held.values()
        assert not any(each.taken for each in held)
        deliveries = [copy(each.delivery) for each in held]
        self.written = self.recipient.window.place, self.recipient.endpoint.failures, deliveries

    def read(self, size: int) -> None:
        window = self.recipient.window
        if self.recipient.may_read(self.now):
            found = self.log[window.ahead.position :][:size]
            window.take_in(found, found[-1].place if found else window.ahead)

    def send(self) -> None:
        for held in list(self.recipient.due(self.now)):
            held.coming = held.coming or deque(self.following(held))
            self.on_their_way.append(self.recipient.again(held))
        self.on_their_way += self.recipient.news(self.now)

    def following(self, held: Any) -> list[Message]:
        end = self.recipient.window.ahead.position
        mine = [each for each in self.log if each.stream == held.delivery.stream and each.place.position <= end]
        return [each for each in mine if each.stream_version >= held.delivery.stream_version]

    def answer(self, number: int, answer: Answer) -> None:
        if not self.on_their_way:
            return
        message = self.on_their_way.pop(number % len(self.on_their_way))
        if not answer.error:
            self.got.append(message.place.position)
        self.recipient.take(message.stream, answer, self.now)
        held = self.recipient.held.get(message.stream)
        if held and held.taken:
            held.coming = deque(self.following(held)[1:])
            self.recipient.go_on(held)

    def settle_everything(self) -> None:
        for _ in range(40 * len(self.log) + 40):
            self.now += timedelta(hours=1)
            self.read(3)
            self.send()
            self.answer(0, TAKEN)
        self.write()


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("read"), st.integers(1, 4)),
        st.tuples(st.just("send"), st.just(0)),
        st.tuples(st.sampled_from(["taken", "refused", "silent"]), st.integers(0, 3)),
        st.tuples(st.just("later"), st.integers(0, 10_000)),
        st.tuples(st.just("write"), st.just(0)),
        st.tuples(st.just("restart"), st.just(0)),
    ),
    max_size=60,
)


def live(simulation: Simulation, steps: list[tuple[str, int]], *, restarts: bool) -> None:
    for step, number in steps:
        if step == "read":
            simulation.read(number)
        elif step == "send":
            simulation.send()
        elif step == "later":
            simulation.now += timedelta(seconds=number)
        elif step == "write":
            simulation.write()
        elif step == "restart":
            if restarts:
                simulation.restart()
        else:
            simulation.answer(number, {"taken": TAKEN, "refused": REFUSED, "silent": SILENT}[step])
    simulation.settle_everything()


LOGS = st.lists(st.integers(0, 3), max_size=14)


@override_settings(WEBHOOKS_RETRIES=RETRIES)
@settings(max_examples=300, deadline=None)
@given(streams=LOGS, steps=STEPS)
def test_every_event_comes_once_and_in_order_of_its_stream(streams: list[int], steps: list[tuple[str, int]]) -> None:
    simulation = Simulation(log_of(streams))
    live(simulation, steps, restarts=False)
    assert sorted(simulation.got) == [each.place.position for each in simulation.log]
    in_order(simulation)


@override_settings(WEBHOOKS_RETRIES=RETRIES)
@settings(max_examples=300, deadline=None)
@given(streams=LOGS, steps=STEPS)
def test_after_restarts_every_event_comes_at_least_once(streams: list[int], steps: list[tuple[str, int]]) -> None:
    simulation = Simulation(log_of(streams))
    live(simulation, steps, restarts=True)
    assert set(simulation.got) == {each.place.position for each in simulation.log}
    in_order(simulation)


def in_order(simulation: Simulation) -> None:
    """The first time that each event comes; and at the end nothing is held, and the place is the end of the log."""
    streams = {each.place.position: each.stream for each in simulation.log}
    for stream in set(streams.values()):
        first = [position for position in dict.fromkeys(simulation.got) if streams[position] == stream]
        assert first == sorted(first)
    place, _, held = simulation.written
    assert (place.position, held) == (len(simulation.log), [])


@override_settings(WEBHOOKS_RETRIES=[5.0, 12.0])
def test_an_event_is_set_aside_after_the_last_retry_and_keeps_no_other_stream() -> None:
    simulation = Simulation(log_of([1, 1, 2]))
    simulation.read(3)
    for _ in range(5):
        simulation.send()
        for _ in range(len(simulation.on_their_way)):
            first = simulation.on_their_way[0].place.position
            simulation.answer(0, REFUSED if first == 1 else TAKEN)
        simulation.now += timedelta(seconds=11)
    simulation.write()
    [held] = simulation.written[2]
    assert (held.status, held.attempts, held.position, simulation.got) == (Delivery.Status.SET_ASIDE, 3, 1, [3])


def test_the_failures_of_a_single_event_do_not_count_as_trouble() -> None:
    simulation = Simulation(log_of([1]))
    simulation.read(1)
    for _ in range(8):
        simulation.send()
        simulation.answer(0, REFUSED)
        simulation.now += timedelta(days=1)
    assert not simulation.recipient.in_trouble
