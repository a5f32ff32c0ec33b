"""A log on a standby: it cannot be appended to, nor followed, and both are said. One that is promoted too late lacks
events, and every reader says so.
"""

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests.journeys.deployment import Deployment, Server, eventually
from tests.journeys.sse import listening
from tools import postgres

pytestmark = [pytest.mark.postgres, pytest.mark.direct]
READERS = {"UserProjector", "CustomerProjector", "OrderProjector", "SummaryProjector"}


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


class Pair:
    """A primary with the databases of a deployment, and a standby of it that somebody may promote."""

    def __init__(self, directory: Path) -> None:
        self.primary, self.standby = (postgres.Server(directory / name) for name in ("primary", "standby"))
        self.url = self.primary.start("fsync = off\nwal_level = replica\n")

    def urls(self) -> dict[str, str]:
        """URLs of the log that name both servers, so that nobody need be told which is the primary."""
        [(name, url)] = [each for each in postgres.databases(self.url).items() if each[0] == "EVENTLOG_DATABASE_URL"]
        both = ",".join(self._host(server) for server in (self.primary, self.standby))
        return {name: url.replace(self._host(self.primary), both)}

    def _host(self, server: postgres.Server) -> str:
        return str(server.sockets).replace("/", "%2F")

    def copy(self) -> None:
        """Make the standby, which has then what the primary has, and nothing that comes later."""
        self.standby.follow(str(self.primary.sockets))

    def fail_over(self) -> float:
        """The primary is lost, and the late standby is promoted; returns when that began."""
        self.primary.kill()
        self.standby.start()
        began = time.monotonic()
        self.standby.promote()
        return began

    def remove(self) -> None:
        for server in (self.primary, self.standby):
            if server.running():
                server.remove()


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    pair = Pair(tmp_path)
    yield pair
    pair.remove()


def order(server: Server, customer: str) -> int:
    line = {"sku": "A", "quantity": 1, "unit_price": "1.50"}
    body = {"customer_id": customer, "currency": "EUR", "lines": [line]}
    return server.client.post("/api/orders/", json=body).status_code


def stopped(server: Server) -> set[str]:
    status = server.client.get("/api/events/status/").json()
    return {each["name"] for each in [*status["projectors"], *status["reactors"]] if each["log_went_back"]}


@pytest.mark.nightly
@pytest.mark.timeout(300)
def test_after_a_late_standby_is_promoted_every_reader_says_so_and_one_replay_repairs(
    deployment: Deployment, pair: Pair
) -> None:
    deployment.environment |= pair.urls()
    deployment.manage("migrate", "--database", "eventlog", "-v0")
    with deployment.server() as web:
        kept = [web.register(number).json()["id"] for number in range(5)]
        pair.copy()
        lost = [web.register(number).json() for number in range(100, 105)]
        assert order(web, lost[-1]["id"]) == 201
        gone = web.client.post(f"/api/users/{lost[0]['id']}/deactivate/", json={"reason": "left"})
        last = gone.json()["position"]
        event = web.client.get(f"/api/events/?after={last - 1}").json()["results"][0]
        with listening(web, f"?after={last - 1}") as stream:
            next(stream.documents())
            seen = stream.last_id
        began = pair.fail_over()
        eventually(lambda: web.register(200).status_code == 201, 20)
        sys.stdout.write(f"first acknowledgement {time.monotonic() - began:.1f} s after the promotion\n")
        assert [order(web, id) for id in kept] == [201] * 5  # past the old checkpoints
        for number in range(201, 205):
            assert web.register(number).status_code == 201
        eventually(lambda: stopped(web) >= READERS)
        reactors = web.client.get("/api/events/status/").json()["reactors"]
        assert stopped(web) == READERS | {each["name"] for each in reactors if each["position"]}
        ready = web.client.get("/readyz")
        assert (ready.status_code, ready.json()["users"], ready.json()["orders"]) == (503, *["log_went_back"] * 2)
        assert web.client.get("/api/users/").headers["Read-Model"] == "log-went-back"
        assert web.client.get(f"/api/events/?after={last}@{event['event_id']}").status_code == 409
        with listening(web, last_id=seen) as stream:
            assert next(stream.messages())["event"] == "reset"
        with deployment.worker() as worker:
            eventually(lambda: worker.poll() == 1)
        deployment.manage("replay_events", "--no-progress")
        deployment.manage("run_projectors", "--once")
        eventually(lambda: web.client.get("/readyz").status_code == 200)
        assert stopped(web) == set()
        assert "Read-Model" not in web.client.get("/api/users/").headers
        deployment.manage("replay_events", "--verify", "--no-progress")
        deployment.manage("verify_log", "--no-progress")
        fold, live = deployment.rows()
        assert live == fold
        assert len(live["users"]) == 10
