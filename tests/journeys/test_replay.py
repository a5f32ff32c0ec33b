"""Replays as an operator runs them: by several processes, and into the past."""

import json
from pathlib import Path

from tests.journeys.deployment import Deployment

MAKE_HISTORY = "from tests.history import make_history; make_history(users=6, commands=100)"


def test_several_processes_build_the_same_rows(deployment: Deployment) -> None:
    deployment.manage("shell", "-v0", "-c", MAKE_HISTORY)
    fold, before = deployment.rows()
    assert before == fold
    deployment.manage("replay_events", "--workers", "2", "--batch", "5")
    assert deployment.rows() == (fold, before)
    assert "as the log says" in deployment.manage("replay_events", "--verify")


def test_the_past_can_be_built_beside_and_opened(deployment: Deployment, tmp_path: Path) -> None:
    deployment.manage("shell", "-v0", "-c", MAKE_HISTORY)
    now = deployment.rows()
    events = [
        json.loads(line) for line in deployment.manage("replay_events", "--list", "--format", "json").splitlines()
    ]
    middle = events[len(events) // 2]
    for until in (str(middle["position"]), middle["recorded_at"]):
        directory = tmp_path / until.replace(":", "")
        deployment.manage("replay_events", "--until", until, "--into", str(directory))
        then = Deployment(
            directory, {f"{alias}_DATABASE_URL": "" for alias in ("DEFAULT", "USERS", "ORDERS", "EVENTLOG")}
        )
        fold, live = then.rows()
        assert live == fold != now[0]
        listed = then.manage("replay_events", "--list", "--format", "json").splitlines()
        assert [json.loads(line) for line in listed] == events[: middle["position"]]
    assert deployment.rows() == now
    refused = deployment.manage("replay_events", "--into", str(directory), check=False)
    assert refused == ""
