"""Backups of a deployment at work, put back into another one; and what a kill leaves of a backup or a restore."""

import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.journeys.deployment import Deployment, Server, eventually
from tests.journeys.load import Load
from tests.support.checker import History

pytestmark = pytest.mark.direct  # a restore must have a database for itself

NEW = "SELECT stream, stream_version, position FROM eventlog_event"
ERASED = "SELECT stream FROM eventlog_event WHERE type = 'users.UserErased'"
LONG = pytest.param(20, marks=[pytest.mark.nightly, pytest.mark.timeout(1500)])


def plain(id: Any) -> str:
    return str(id).replace("-", "")


class Erasing:
    """Somebody who registers people and erases every second of them, without rest; `erased` were acknowledged."""

    def __init__(self, server: Server) -> None:
        self.server, self.erased, self.stop = server, [], threading.Event()  # type: ignore[var-annotated]
        self.attempted: set[str] = set()

    def work(self) -> None:
        number = 0
        while not self.stop.is_set():
            number += 1
            person = {"email": f"e{number}@example.com", "name": f"Erasable {number}"}
            id = self.server.client.post("/api/users/", json=person).json()["id"]
            if number % 2:
                self.attempted.add(plain(id))
                answer = self.server.client.post(f"/api/users/{id}/erase/", json={"reason": "asked for"})
                assert answer.status_code == 202, answer.text
                self.erased.append((time.monotonic(), plain(id)))


@pytest.mark.parametrize("times", [1, LONG])
def test_backups_taken_under_load_hold_what_was_acknowledged(
    template: Deployment, deployment: Deployment, tmp_path_factory: pytest.TempPathFactory, times: int
) -> None:
    history, folders = History(), []
    with deployment.server(COMMANDS_PER_MINUTE="100000") as server, ThreadPoolExecutor(1) as pool:
        load, erasing = Load(server.url, server.token, history, seed=times), Erasing(server)
        with load.running():
            ended = pool.submit(erasing.work)
            try:
                for number in range(times):
                    deployment.manage("seal_events", "--no-progress")
                    began, folder = time.monotonic(), deployment.directory / f"backup-{number}"
                    deployment.manage("backup", str(folder))
                    folders.append((began, time.monotonic(), folder))
            finally:
                erasing.stop.set()
                ended.result()
        assert load.broken == []
    figures = [restored(template, tmp_path_factory.mktemp("restored"), history, erasing, *each) for each in folders]
    print(f"{times} backups: {figures}")  # noqa: T201


def restored(
    template: Deployment, directory: Path, history: History, erasing: Erasing, began: float, ended: float, folder: Path
) -> dict[str, float]:
    """Put one backup back into a deployment of its own, and hold it against what was seen; returns figures."""
    target, now = Deployment.make(directory, template), time.monotonic()
    out = target.manage("restore", str(folder), "--replace", "--verify", seconds=300)
    took = time.monotonic() - now
    assert out.count("as the log says") >= 4, out
    assert "events are as they were sealed" in out
    events = set(target.query("eventlog", NEW))
    acknowledged = [call.answer for call in history.calls if call.answer and call.done < began]
    assert acknowledged
    assert [answer for answer in acknowledged if answer not in events] == [], "acknowledged, and not in the backup"
    told = {plain(stream.removeprefix("user-")) for (stream,) in target.query("eventlog", ERASED)}
    shown = {plain(id) for (id,) in target.query("users", "SELECT id FROM users_user WHERE name = '[erased]'")}
    assert shown == told <= erasing.attempted, "somebody is erased who was not, or the reverse"
    assert {id for at, id in erasing.erased if at < began} <= told
    destroyed = {
        plain(id) for (id,) in target.query("keys", "SELECT subject FROM keys_personalkey WHERE wrapped IS NULL")
    }
    assert destroyed == told
    logins = {plain(name) for (name,) in target.query("default", "SELECT username FROM auth_user")}
    users = {plain(id) for (id,) in target.query("users", "SELECT id FROM users_user")}
    assert users - shown <= logins, "somebody has no login"
    assert not shown & logins
    return {
        "events": len(events),
        "erased": len(told),
        "backup s": round(ended - began, 1),
        "restore s": round(took, 1),
    }


def test_a_restore_killed_half_way_is_run_again(deployment: Deployment) -> None:
    folder = str(deployment.directory / "kept")
    with deployment.server() as server:
        server.register(1)
        deployment.manage("backup", folder)
        server.register(2)
    for point in ("restored", "repairing"):
        deployment.manage("restore", folder, "--replace", check=False, FAILPOINT=point)
        assert_does_not_serve(deployment)
    assert "restored" in deployment.manage("restore", folder, "--verify")  # and needs no --replace
    with deployment.server() as server:
        assert server.names() == ["User 1"]
        assert server.register(2).status_code == 201


def assert_does_not_serve(deployment: Deployment) -> None:
    with deployment.process("-c", "import config.asgi") as process:
        assert process.wait(timeout=30) == 1
    assert "the restore of" in (deployment.directory / "processes.log").read_text().splitlines()[-1]


@pytest.mark.parametrize(
    "end", [signal.SIGINT, *(pytest.param(end, marks=pytest.mark.nightly) for end in (signal.SIGTERM, signal.SIGKILL))]
)
def test_a_backup_that_is_interrupted_is_none(deployment: Deployment, end: signal.Signals) -> None:
    folder = deployment.directory / "kept"
    with deployment.process("manage.py", "backup", str(folder), FAILPOINT="copied:SIGSTOP") as process:
        eventually(lambda: "T (stopped)" in Path(f"/proc/{process.pid}/status").read_text())
        process.send_signal(end)
        process.send_signal(signal.SIGCONT)
        process.wait(timeout=30)
    if end is signal.SIGKILL:
        assert list(folder.iterdir()) != []
    else:
        assert not folder.exists()
    assert deployment.manage("restore", str(folder), "--replace", check=False) == ""
    deployment.manage("backup", str(folder))
    assert "is whole" in deployment.manage("restore", str(folder), "--check")
