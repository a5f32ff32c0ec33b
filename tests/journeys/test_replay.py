"""Replays as an operator runs them: by several processes, and into the past."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from apps.eventlog.projectors import Projector
from tests.journeys.deployment import ROOT, ROWS, Deployment

MAKE_HISTORY = "from tests.support.history import make_history; make_history(users=5, commands=50)"


def test_several_processes_build_the_same_rows(deployment: Deployment) -> None:
    *_, before = deployment.manage("shell", "-v0", "-c", f"{MAKE_HISTORY}; {ROWS}").splitlines()
    deployment.manage("replay_events", "--workers", "2", "--batch", "5")
    verify = "from django.core.management import call_command; call_command('replay_events', '--verify')"
    *verified, after = deployment.manage("shell", "-v0", "-c", f"{verify}; {ROWS}").splitlines()
    fold, rows = json.loads(after)
    assert json.loads(before) == [fold, rows] == [rows, rows]
    assert all("as the log says" in line for line in verified)
    assert len(verified) == len(Projector.registry)


def test_a_listing_that_nobody_reads_on_ends_without_a_word(deployment: Deployment) -> None:
    deployment.manage("shell", "-v0", "-c", MAKE_HISTORY)
    command = [sys.executable, "manage.py", "replay_events", "--list"]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, cwd=ROOT, env=deployment.environment, **pipes) as process:
        process.stdout.close()  # type: ignore[union-attr]
        assert process.stderr.read() == b""  # type: ignore[union-attr]
    assert process.returncode == 1


def look(deployment: Deployment) -> tuple[Any, list[Any]]:
    """Its rows and its events, by one process: to start one takes longer than to look."""
    listing = "call_command('replay_events', list=True, format='json')"
    code = f"{ROWS}; from django.core.management import call_command; {listing}"
    (_, rows), *events = map(json.loads, deployment.manage("shell", "-v0", "-c", code).splitlines())
    return rows, events


# A history in parts, with what the rows were after each part, and when that was; one event is skipped throughout.
CAPTURE = """
import json
from django.utils import timezone
from apps.eventlog import store
from apps.eventlog.replay.rebuild import rebuild
from apps.orders.models import DeadLetter, Order
from apps.orders.read.projectors import OrderProjector
from tests.support.fold import projected
from tests.support.history import make_history
make_history(users=2, commands=20, seed=100)
order = Order.objects.filter(version__gt=1).first()
[event] = store.read_stream(f"order-{{order.pk}}", after_version=1, limit=1)
letter = {{"projector": "OrderProjector", "stream": event.stream, "position": event.position}}
DeadLetter.objects.create(**letter, status="skipped", reason="a mistake")
rebuild(OrderProjector)
assert Order.objects.get(pk=order.pk).status != order.status
captured = []
for seed in range({times}):
    make_history(users=2, commands=10, seed=seed)
    captured.append((timezone.now().isoformat(), store.head(), projected()))
make_history(users=2, commands=10, seed={times})
print(json.dumps(captured, default=str, sort_keys=True))
"""


@pytest.mark.parametrize("times", [1, pytest.param(20, marks=[pytest.mark.nightly, pytest.mark.timeout(900)])])
def test_the_past_can_be_built_beside_and_is_as_it_was(deployment: Deployment, tmp_path: Path, times: int) -> None:
    captured = json.loads(deployment.manage("shell", "-v0", "-c", CAPTURE.format(times=times)).splitlines()[-1])
    assert len(captured) == times
    now, events = look(deployment)
    for number, (instant, position, rows) in enumerate(captured):
        suffix, directory = f"then{number}", tmp_path / str(number)
        into, then = [
            (suffix, Deployment(deployment.directory, deployment.urls() | {"DATABASE_SUFFIX": suffix})),
            (str(directory), Deployment(directory, dict.fromkeys(deployment.urls(), ""))),
        ][number % 2]
        until = str(position) if number % 4 > 1 else instant
        assert "make run" in deployment.manage("replay_events", "--until", until, "--into", into).splitlines()[-1]
        assert look(then) == (rows, events[:position])
        assert rows != now
    assert deployment.manage("replay_events", "--into", into, check=False) == ""  # refused
    assert look(then)[0] == rows
    assert look(deployment) == (now, events)
