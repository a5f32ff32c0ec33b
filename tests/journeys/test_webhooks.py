"""Webhooks of a real deployment: workers that are killed, servers that deliver themselves, and how late events are."""

import random
import signal
import time
from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest

from tests.journeys.deployment import Deployment, Server, eventually
from tests.support.receiver import Got, Receiver, answer, answers, hangs

LOOPBACK = {"WEBHOOKS_PRIVATE": "on", "WEBHOOKS_TIMEOUT": "1", "WEBHOOKS_RETRIES": "0.2s,1s,2s,5s,60s"}
APPENDS = """
import time
from uuid import uuid4
from apps.eventlog import store
from apps.users.events import UserRegistered, UserRenamed
for number in range({streams}):
    events = [UserRegistered("a@example.org", "Ann"), *[UserRenamed(f"Anna {{n}}") for n in range({events} - 1)]]
    stream = f"user-{{uuid4()}}"
    for version, event in enumerate(events):
        store.append(stream, [event], expected_version=version)
        time.sleep({pause})
"""


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as found:
        yield found


def endpoint(server: Server, receiver: Receiver, name: str) -> str:
    made = server.client.post("/api/webhooks/", json={"url": receiver.url(name)})
    assert made.status_code == 201, made.text
    receiver.secrets[name] = made.json()["secret"]
    return str(made.json()["id"])


def appending(deployment: Deployment, streams: int, events: int, pause: float = 0.0) -> Any:
    return deployment.process(
        "manage.py", "shell", "-v0", "-c", APPENDS.format(streams=streams, events=events, pause=pause)
    )


def in_order(got: list[Got], *, repeats: bool) -> None:
    """Versions of each stream go up; after a kill the last ones may come again."""
    versions: dict[str, list[int]] = {}
    for each in got:
        versions.setdefault(each.document["stream"], []).append(each.document["stream_version"])
    for mine in versions.values():
        if not repeats:
            assert mine == sorted(set(mine))
        first = list(dict.fromkeys(mine))  # each event as it came for the first time
        assert first == sorted(first)


def delays(got: list[Got]) -> list[float]:
    """Seconds from the append of each event to its first delivery, the shortest first."""
    first: dict[int, float] = {}
    for each in got:
        recorded = datetime.fromisoformat(each.document["recorded_at"]).timestamp()
        first.setdefault(each.document["position"], each.at - recorded)
    return sorted(first.values())


def p99(found: list[float]) -> float:
    return found[int(len(found) * 0.99)]


def test_servers_deliver_by_themselves_and_what_they_leave_is_not_sent_twice(
    deployment: Deployment, receiver: Receiver
) -> None:
    with deployment.server(**LOOPBACK) as one:
        id = endpoint(one, receiver, "good")
        with deployment.server(**LOOPBACK) as two:
            for number in range(6):
                (one, two)[number % 2].register(number).raise_for_status()
            eventually(lambda: len(receiver.got["good"]) == 6)
            two.process.send_signal(signal.SIGTERM)
            two.process.wait(15)
        one.register(7).raise_for_status()
        eventually(lambda: len(receiver.got["good"]) == 7)
        status = one.client.get("/api/events/status/").json()["webhooks"][0]
        assert (status["id"], status["active"], status["dead_letters"]) == (id, True, 0)
        one.process.send_signal(signal.SIGTERM)
        one.process.wait(15)
    assert not {"email", "name"} & receiver.got["good"][0].document["data"].keys()
    with deployment.server(**LOOPBACK) as server:
        server.register(8).raise_for_status()
        eventually(lambda: len(receiver.got["good"]) == 8)
    assert len(receiver.tried["good"]) == 8


@pytest.mark.timeout(300)
@pytest.mark.parametrize("kills", [3, pytest.param(40, marks=[pytest.mark.nightly, pytest.mark.timeout(1200)])])
def test_workers_that_are_killed_lose_nothing_and_keep_the_order(
    deployment: Deployment, receiver: Receiver, kills: int
) -> None:
    chance = random.Random(kills)
    # Some event fails twice, and by default it would come again after a minute, counted from its first attempt.
    retries = ",".join(f"{seconds}s" for seconds in range(1, 300, 2))
    worker = {"PROJECTIONS": "worker", "WEBHOOKS_RETRIES": retries} | LOOPBACK

    async def now_and_then(document: dict[str, Any]) -> bytes:
        return answer(204 if chance.random() < 0.9 else 503)

    streams, events = 7 * kills, 8
    with deployment.server(**worker) as server:
        for name in ("good", "flaky", "dead"):
            endpoint(server, receiver, name)
        receiver.behave("flaky", now_and_then)
        receiver.behave("dead", hangs)
        with appending(deployment, streams, events, 0.05) as writer:
            for _ in range(kills):
                with deployment.worker(**worker) as process:
                    seen = len(receiver.got["good"])
                    eventually(lambda seen=seen: writer.poll() == 0 or len(receiver.got["good"]) > seen, 30)  # type: ignore[misc]
                    time.sleep(chance.uniform(0.0, 1.0))  # killed at some moment, not a wait for anything
                    process.send_signal(signal.SIGKILL)
            assert writer.wait(300) == 0
        with deployment.worker(**worker), deployment.worker(**worker):
            positions = [
                position for (position,) in deployment.query("eventlog", "SELECT position FROM eventlog_event")
            ]
            for name in ("good", "flaky"):
                eventually(lambda name=name: set(receiver.positions(name)) == set(positions), 150)  # type: ignore[misc]
    for name in ("good", "flaky"):
        in_order(receiver.got[name], repeats=True)
    again = Counter(receiver.positions("good"))
    assert sum(again.values()) - len(again) <= kills * 50  # what was on its way or not written down


def test_a_good_endpoint_is_not_late_beside_others_that_fail(deployment: Deployment, receiver: Receiver) -> None:
    worker = {"PROJECTIONS": "worker"} | LOOPBACK
    with deployment.server(**worker) as server, deployment.worker(**worker):
        for name in ("good", "hangs", "fails", "gone"):
            endpoint(server, receiver, name)
        for name, behaviour in (("hangs", hangs), ("fails", answers(500)), ("gone", answers(410))):
            receiver.behave(name, behaviour)
        with appending(deployment, 20, 5, 0.01) as writer:
            assert writer.wait(60) == 0
        eventually(lambda: len(receiver.got["good"]) == 100)
    in_order(receiver.got["good"], repeats=False)
    assert p99(delays(receiver.got["good"])) < 2


LONG = [pytest.mark.nightly, pytest.mark.timeout(1200)]


@pytest.mark.parametrize(
    ("number", "events", "pause"),
    [(100, 8, 0.3), pytest.param(1, 6000, 0.005, marks=LONG), pytest.param(1000, 40, 2.0, marks=LONG)],
)
def test_p99_of_the_delay_beside_a_dead_endpoint_is_below_two_seconds(
    deployment: Deployment, receiver: Receiver, number: int, events: int, pause: float
) -> None:
    worker = {"PROJECTIONS": "worker"} | LOOPBACK
    with deployment.server(**worker) as server, deployment.worker(**worker):
        names = [f"e{each}" for each in range(number)]
        for name in [*names, "dead"]:
            endpoint(server, receiver, name)
        receiver.behave("dead", hangs)
        with appending(deployment, events // 4, 4, pause) as writer:
            assert writer.wait(600) == 0
        eventually(lambda: all(len(receiver.got[name]) == events for name in names), 60)
    for name in names:
        in_order(receiver.got[name], repeats=False)
    found = sorted(each for name in names for each in delays(receiver.got[name]))
    summary = f"{number} endpoints, {len(found)} deliveries: p50 {found[len(found) // 2]:.3f} s, p99 {p99(found):.3f} s"
    assert p99(found) < 2, summary
