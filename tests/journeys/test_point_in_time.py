"""The drill of docs/how-to/back-up-and-restore.md: the server of the log goes back to an earlier instant, alone."""

import shutil
import subprocess
from datetime import datetime
from pathlib import Path

import psycopg
import pytest

from tests.journeys.deployment import Deployment
from tools import postgres

pytestmark = [pytest.mark.postgres, pytest.mark.direct, pytest.mark.nightly]

ARCHIVING = "archive_mode = on\narchive_command = 'cp %p {0}/%f'\nwal_level = replica\nmax_wal_senders = 4\n"
RECOVERY = "restore_command = 'cp {0}/%f %p'\nrecovery_target_time = '{1}'\nrecovery_target_action = promote\n"
PEOPLE = "SELECT count(*) FROM eventlog_event WHERE type = 'users.UserRegistered'"


def test_the_log_alone_goes_back_to_an_instant(deployment: Deployment, tmp_path: Path) -> None:
    server = postgres.Server(tmp_path / "log")
    archive, base = server.directory / "archive", server.directory / "base"
    url = server.start(ARCHIVING.format(archive))
    try:
        archive.mkdir()
        if server.user:
            shutil.chown(archive, server.user)
        log = {"EVENTLOG_DATABASE_URL": postgres.databases(url)["EVENTLOG_DATABASE_URL"]}
        deployment.environment |= log
        deployment.manage("migrate", "-v0")
        copy = [postgres.binaries() / "pg_basebackup", "-D", base, "-c", "fast", "-d", url]
        with deployment.server() as web:
            for number in range(3):
                assert web.register(number).status_code == 201
            subprocess.run(copy, check=True, user=server.user, cwd="/")
            kept = web.register(3).json()
            instant = at(log["EVENTLOG_DATABASE_URL"])
            lost = web.register(4).json()
            erased = web.client.post(f"/api/users/{kept['id']}/erase/", json={"reason": "asked for"})
            assert erased.status_code == 202
            deployment.manage("seal_events", "--no-progress")
        go_back(server, archive, base, instant)
        printed = deployment.manage("log_status", check=False)
        assert printed.startswith("WRONG: ")
        assert "UserProjector of users has stopped, because the log went back: run manage.py replay_events" in printed
        deployment.manage("reapply_erasures")
        deployment.manage("replay_events", "--no-progress")
        with psycopg.connect(log["EVENTLOG_DATABASE_URL"]) as connection:
            assert connection.execute(PEOPLE).fetchone() == (4,)
        assert "no data key is missing" not in deployment.manage("verify_keys", check=False)
        deployment.manage("erase_user", kept["id"], "--reason", "asked for, before the log went back")
        assert "no data key is missing" in deployment.manage("verify_keys")
        deployment.manage("rebuild_reservations")
        deployment.manage("verify_log")
        deployment.manage("replay_events", "--verify", "--no-progress")
        with deployment.server() as web:
            assert web.client.get(f"/api/users/{lost['id']}/").status_code == 404
            assert web.client.get(f"/api/users/{kept['id']}/").json()["name"] == "[erased]"
            assert web.register(4).status_code == 201
            assert web.client.get("/readyz").status_code == 200
    finally:
        server.remove()


def at(url: str) -> datetime:
    """An instant between two transactions; the write-ahead log of what comes before is archived."""
    with psycopg.connect(url, autocommit=True) as connection:
        instant = connection.execute("SELECT clock_timestamp()").fetchone()
    assert instant is not None
    return instant[0]


def go_back(server: postgres.Server, archive: Path, base: Path, instant: datetime) -> None:
    server.stop()
    server.data.rename(server.directory / "data.before")
    shutil.copytree(base, server.data, copy_function=shutil.copy2)
    with (server.data / "postgresql.auto.conf").open("a") as conf:
        conf.write(RECOVERY.format(archive, instant.isoformat(sep=" ")))
    (server.data / "recovery.signal").touch()
    for path in (server.data, *server.data.rglob("*")):
        if server.user:
            shutil.chown(path, server.user)
    server.data.chmod(0o700)
    server.start()
