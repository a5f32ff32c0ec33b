"""Replays as an operator runs them: by several processes, and into the past."""

import json
from pathlib import Path

import pytest

from tests.journeys.deployment import Deployment

MAKE_HISTORY = "from tests.history import make_history; make_history(users=5, commands=50)"


def test_several_processes_build_the_same_rows(deployment: Deployment) -> None:
    deployment.manage("shell", "-v0", "-c", MAKE_HISTORY)
    _, before = deployment.rows()
    deployment.manage("replay_events", "--workers", "2", "--batch", "5")
    assert deployment.rows() == (before, before)
    assert "as the log says" in deployment.manage("replay_events", "--verify")


@pytest.mark.parametrize("by", ["recorded_at", pytest.param("position", marks=pytest.mark.nightly)])
def test_the_past_can_be_built_beside_and_opened(deployment: Deployment, tmp_path: Path, by: str) -> None:
    deployment.manage("shell", "-v0", "-c", MAKE_HISTORY)
    now = deployment.rows()
    listing = ("replay_events", "--list", "--format", "json")
    events = [json.loads(line) for line in deployment.manage(*listing).splitlines()]
    middle = events[len(events) // 2]
    directory = tmp_path / "then"
    deployment.manage("replay_events", "--until", str(middle[by]), "--into", str(directory))
    then = Deployment(directory, {f"{alias}_DATABASE_URL": "" for alias in ("DEFAULT", "USERS", "ORDERS", "EVENTLOG")})
    fold, live = then.rows()
    assert live == fold != now[0]
    assert [json.loads(line) for line in then.manage(*listing).splitlines()] == events[: middle["position"]]
    assert deployment.rows() == now
    refused = deployment.manage("replay_events", "--into", str(directory), check=False)
    assert refused == ""
