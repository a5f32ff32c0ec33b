"""Several workers on the same projectors, stopped and continued at the worst moments: nothing is applied twice."""

import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import combinations
from pathlib import Path

import pytest

from apps.eventlog.delivery import checkpoints
from apps.eventlog.projectors import Projector, services
from tests.journeys.deployment import ROOT, Deployment, eventually
from tests.support import engine

FORGOTTEN = """
from tests.support.history import forget_rows, make_history
make_history(users=6, commands=60)
forget_rows()
"""
APPENDS = """
from decimal import Decimal
from uuid import uuid4
from apps.eventlog import store
from apps.orders.events import OrderCancelled, OrderLine, OrderPaid, OrderPlaced
from apps.users.events import UserRegistered, UserRenamed
for number in range({orders}):
    user, lines = uuid4(), (OrderLine("A-1", 1 + number % 3, Decimal("1.25")),)
    named = [UserRegistered(f"{{user}}@example.org", "Ann"), UserRenamed("Anna")]
    store.append(f"user-{{user}}", named, expected_version=0)
    last = OrderPaid("p") if number % 3 else OrderCancelled("why", "requested")
    store.append(f"order-{{uuid4()}}", [OrderPlaced(user, "EUR", lines), last], expected_version=0)
"""


def impatient(deployment: Deployment) -> dict[str, str]:
    """Short time limits, so that a stopped process is soon given up."""
    short = "options=-c%20idle_in_transaction_session_timeout%3D100"
    return {name: f"{url}{'&' if '?' in url else '?'}{short}" for name, url in deployment.urls().items() if url} | {
        "SQLITE_TIMEOUT": "1"
    }


def is_stopped(process: subprocess.Popen[bytes]) -> bool:
    return Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


def heads(deployment: Deployment) -> dict[str, int]:
    """The position of the last event that each projector follows."""
    last = dict(deployment.query("eventlog", "SELECT category, max(position) FROM eventlog_event GROUP BY category"))
    followed = Projector.registry.values()
    return {kind.name: max(last.get(category, 0) for category in kind.categories) for kind in followed}


def positions(deployment: Deployment) -> dict[str, int]:
    """How far each projector is."""
    reached: dict[str, int] = {}
    for service in services():
        reached |= dict(deployment.query(service, f"SELECT name, position FROM {checkpoints.table(service)}"))
    return reached


def all_is_projected(deployment: Deployment) -> bool:
    """Has each projector come to the last event that it follows?"""
    reached = positions(deployment)
    return all(reached.get(name, 0) >= head for name, head in heads(deployment).items())


@pytest.mark.direct
def test_a_worker_stopped_in_a_projection_that_wakes_applies_nothing_twice(deployment: Deployment) -> None:
    deployment.manage("shell", "-v0", "-c", FORGOTTEN)
    environment = impatient(deployment)
    with deployment.worker(FAILPOINT="projected:SIGSTOP", **environment) as holder:
        eventually(lambda: is_stopped(holder))
        with deployment.worker(**environment) as other:
            if engine.POSTGRES:  # the server ends the holder's session, so the other takes over
                eventually(lambda: all_is_projected(deployment), 60)
            eventually(lambda: holder.send_signal(signal.SIGCONT) or all_is_projected(deployment), 60)
            with deployment.process("manage.py", "shell", "-v0", "-c", APPENDS.format(orders=20)) as writer:
                # On SQLite the holder stands still with the lock on `users`, where the writer makes its people's keys.
                eventually(lambda: holder.send_signal(signal.SIGCONT) or writer.poll() is not None, 60)
            assert writer.returncode == 0
            eventually(lambda: holder.send_signal(signal.SIGCONT) or all_is_projected(deployment), 60)
            assert (holder.poll(), other.poll()) == (None, None)
    fold, live = deployment.rows()
    assert live == fold


@pytest.mark.parametrize("stops", [5, pytest.param(300, marks=[pytest.mark.nightly, pytest.mark.timeout(900)])])
@pytest.mark.direct
def test_workers_stopped_and_continued_at_random_apply_nothing_twice(deployment: Deployment, stops: int) -> None:
    chance, environment = random.Random(stops), impatient(deployment)
    script = APPENDS.format(orders=25 * stops)
    with (
        deployment.worker(**environment) as one,
        deployment.worker(**environment) as two,
        deployment.process("manage.py", "shell", "-v0", "-c", script) as writer,
    ):
        eventually(lambda: deployment.query("eventlog", "SELECT 1 FROM eventlog_event LIMIT 1"))
        for _ in range(stops):
            worker = chance.choice([one, two])
            worker.send_signal(signal.SIGSTOP)
            time.sleep(chance.uniform(0.01, 0.3))  # how long it stands still, not a wait for anything
            worker.send_signal(signal.SIGCONT)
        assert writer.wait(timeout=600) == 0
        eventually(lambda: all_is_projected(deployment), seconds=60)
        assert (one.poll(), two.poll()) == (None, None)
    fold, live = deployment.rows()
    assert live == fold


def test_a_worker_says_how_far_each_projector_is(deployment: Deployment) -> None:
    deployment.manage("shell", "-v0", "-c", APPENDS.format(orders=2))
    log = deployment.directory / "processes.log"
    with deployment.process("manage.py", "run_projectors", "--report", "0.1", PYTHONUNBUFFERED="1") as worker:
        eventually(lambda: "SummaryProjector at 8, 0 behind, 0 set aside" in log.read_text())
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(timeout=10) == 0


BACKLOG = "from benchmarks import made_up; made_up.fill({events})"


def told(log: Path) -> list[dict[str, int]]:
    """What each report says that its worker had, by projector."""
    lines = re.findall(r"^\d{4}-\S+Z (.* from here.*)$", log.read_text(), re.MULTILINE)
    return [{name: int(had) for name, had in re.findall(r"(\w+) at [^;]*?(\d+) from here", line)} for line in lines]


FOUR = ("-m", "tests.journeys.four_projectors")
NAMES = ("OrderProjector", "SummaryProjector", "OrderReferenceProjector", "OrderItemsProjector")


def one_of_four(deployment: Deployment, stack: ExitStack) -> subprocess.Popen[bytes]:
    """A worker for one service, in which four projectors follow the orders."""
    command = (*FOUR, "run_projectors", "--service", "orders", "--report", "0.1")
    return stack.enter_context(deployment.process(*command, PYTHONUNBUFFERED="1"))


@pytest.fixture
def four(deployment: Deployment) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Two such workers."""
    subprocess.run([sys.executable, *FOUR, "migrate"], cwd=ROOT, env=deployment.environment, check=True)
    log = deployment.directory / "processes.log"
    with ExitStack() as stack:
        workers = [one_of_four(deployment, stack) for _ in range(2)]
        eventually(lambda: log.read_text().count("Projecting orders") == 2)
        yield workers


def reached_by(deployment: Deployment) -> dict[str, int]:
    """How far each of the four is."""
    found = dict(deployment.query("orders", f"SELECT name, position FROM {checkpoints.table('orders')}"))
    return {name: found.get(name, 0) for name in NAMES}


def test_two_workers_on_one_service_share_its_four_projectors(
    deployment: Deployment, four: list[subprocess.Popen[bytes]]
) -> None:
    events, log = 8000, deployment.directory / "processes.log"

    def shared() -> bool:
        """Two reports account for everything together, and each for a part of it."""
        busy = [part for part in told(log) if 0 < sum(part.values()) < 4 * events]
        total = dict.fromkeys(NAMES, events)
        return any({name: one[name] + two[name] for name in NAMES} == total for one, two in combinations(busy, 2))

    deployment.manage("shell", "-v0", "-c", BACKLOG.format(events=events))
    eventually(lambda: set(reached_by(deployment).values()) == {events}, 60)
    eventually(shared)
    assert [worker.poll() for worker in four] == [None, None]


@pytest.mark.parametrize(
    ("events", "kills"), [(16_000, 1), pytest.param(60_000, 12, marks=[pytest.mark.nightly, pytest.mark.timeout(600)])]
)
def test_when_a_busy_worker_is_killed_the_other_takes_over_within_two_seconds(
    deployment: Deployment, four: list[subprocess.Popen[bytes]], events: int, kills: int
) -> None:
    chance, log = random.Random(kills), deployment.directory / "processes.log"
    deployment.manage("shell", "-v0", "-c", BACKLOG.format(events=events))
    with ExitStack() as stack:
        for kill in range(1, kills + 1):
            eventually(lambda kill=kill: sum(reached_by(deployment).values()) > 2 * events * kill / kills, 120)
            number = chance.randrange(2)
            four[number].kill()
            four[number].wait()
            left = {name: at for name, at in reached_by(deployment).items() if at < events}
            assert left, "there was nothing left to take over"
            eventually(lambda left=left: not left.items() & reached_by(deployment).items(), 2)
            four[number] = one_of_four(deployment, stack)
            eventually(lambda kill=kill: log.read_text().count("Projecting orders") == 2 + kill)
        eventually(lambda: set(reached_by(deployment).values()) == {events}, 120)


def test_when_a_worker_dies_another_takes_over_within_two_seconds(deployment: Deployment) -> None:
    def behind() -> dict[str, int]:
        """The positions of the projectors that have something to do."""
        return {name: at for name, at in positions(deployment).items() if at < heads(deployment).get(name, 0)}

    with deployment.worker() as other, deployment.worker(FAILPOINT="projected") as dying:
        while dying.poll() is None:  # the other may be faster
            deployment.manage("shell", "-v0", "-c", APPENDS.format(orders=20))
        left = behind()
        eventually(lambda: not (left.items() & behind().items()), 2)
        eventually(lambda: all_is_projected(deployment))
        assert other.poll() is None


@pytest.mark.nightly
def test_a_worker_told_to_stop_leaves_a_backlog_behind(deployment: Deployment) -> None:
    deployment.manage("shell", "-v0", "-c", APPENDS.format(orders=800))
    with deployment.worker() as worker:
        eventually(lambda: deployment.query("orders", "SELECT 1 FROM orders_order LIMIT 1"))
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(timeout=10) == 0
    assert not all_is_projected(deployment)
    deployment.manage("run_projectors", "--once")
    assert all_is_projected(deployment)


def test_a_service_whose_database_is_away_holds_up_no_other(deployment: Deployment) -> None:
    deployment.manage("shell", "-v0", "-c", APPENDS.format(orders=2))
    away = {"ORDERS_DATABASE_URL": "postgres://nobody@127.0.0.1:1/nothing"}
    with deployment.worker(**away):
        eventually(lambda: deployment.query("users", "SELECT 1 FROM users_user"))
    assert deployment.query("orders", "SELECT count(*) FROM orders_order") == [(0,)]
