"""A log on a standby: it cannot be appended to, nor followed, and both are said."""

from pathlib import Path

import psycopg
import pytest

from tests.journeys.deployment import Deployment
from tools import postgres

pytestmark = pytest.mark.postgres


def test_a_standby_takes_no_command_and_knows_no_safe_position(deployment: Deployment, tmp_path: Path) -> None:
    server = postgres.Server(tmp_path / "standby")
    try:
        log = postgres.databases(server.start("fsync = off\n"))["EVENTLOG_DATABASE_URL"]
        deployment.manage("migrate", "--database", "eventlog", "-v0", EVENTLOG_DATABASE_URL=log)
        server.stop()
        (server.data / "standby.signal").touch()
        server.start()
        with psycopg.connect(log) as connection, pytest.raises(psycopg.errors.ReadOnlySqlTransaction, match="standby"):
            connection.execute("SELECT eventlog_safe_position()")
        with deployment.server(EVENTLOG_DATABASE_URL=log) as web:
            refused = web.register(1)
            assert (refused.status_code, refused.headers["Content-Type"]) == (503, "application/problem+json")
            assert int(refused.headers["Retry-After"]) >= 1
            assert web.client.get("/api/events/").status_code == 503
            assert web.client.get("/api/users/").status_code == 200
    finally:
        server.remove()
