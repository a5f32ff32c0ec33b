"""Replays as an operator runs them: by several processes, and into the past."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.journeys.deployment import Deployment

NO_URLS = {f"{alias}_DATABASE_URL": "" for alias in ("DEFAULT", "USERS", "ORDERS", "EVENTLOG")}
MAKE_HISTORY = "from tests.history import make_history; make_history(users=5, commands=50)"


def test_several_processes_build_the_same_rows(deployment: Deployment) -> None:
    deployment.manage("shell", "-v0", "-c", MAKE_HISTORY)
    _, before = deployment.rows()
    deployment.manage("replay_events", "--workers", "2", "--batch", "5")
    assert deployment.rows() == (before, before)
    assert "as the log says" in deployment.manage("replay_events", "--verify")


def listed(deployment: Deployment) -> list[Any]:
    return [json.loads(line) for line in deployment.manage("replay_events", "--list", "--format", "json").splitlines()]


# A history in parts, with what the rows were after each part, and when that was.
CAPTURE = """
import json
from django.utils import timezone
from apps.eventlog import store
from tests.fold import projected
from tests.history import make_history
captured = []
for seed in range({times}):
    make_history(users=2, commands=10, seed=seed)
    captured.append((timezone.now().isoformat(), store.head(), projected()))
make_history(users=2, commands=10, seed={times})
print(json.dumps(captured, default=str, sort_keys=True))
"""


@pytest.mark.parametrize("times", [1, pytest.param(20, marks=[pytest.mark.nightly, pytest.mark.timeout(600)])])
def test_the_past_can_be_built_beside_and_is_as_it_was(deployment: Deployment, tmp_path: Path, times: int) -> None:
    captured = json.loads(deployment.manage("shell", "-v0", "-c", CAPTURE.format(times=times)).splitlines()[-1])
    assert len(captured) == times
    now, events = deployment.rows(), listed(deployment)
    for number, (instant, position, rows) in enumerate(captured):
        directory, until = tmp_path / str(number), str(position) if number % 2 else instant
        deployment.manage("replay_events", "--until", until, "--into", str(directory))
        then = Deployment(directory, NO_URLS)
        assert then.rows() == (rows, rows) != now
        assert listed(then) == events[:position]
    assert deployment.rows() == now
    refused = deployment.manage("replay_events", "--into", str(directory), check=False)
    assert refused == ""
