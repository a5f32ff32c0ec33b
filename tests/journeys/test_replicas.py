"""Queries read at a standby that follows the read databases: never too old, and never stuck if it is away."""

import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import psycopg
import pytest
from django.conf import settings

from tests.journeys.deployment import Deployment, Server, eventually
from tools import postgres

pytestmark = [pytest.mark.postgres, pytest.mark.direct, pytest.mark.timeout(300)]

# Commits of rows are not waited for, so they reach the standby when they are written, by default every 200 ms.
QUICKLY = "fsync = off\nwal_writer_delay = 10ms\n"


class Copy:
    """A standby of a primary that has the read databases of a deployment."""

    def __init__(self, deployment: Deployment) -> None:
        self.deployment = deployment
        self.primary, self.standby = (postgres.Server(deployment.directory / name) for name in ("primary", "standby"))

    def make(self) -> None:
        url = self.primary.start(QUICKLY)
        names = [f"{service.upper()}_DATABASE_URL" for service in settings.SERVICES]
        urls = postgres.databases(url, self.deployment.prefix)
        self.deployment.environment |= {name: urls[name] for name in names}
        for service in settings.SERVICES:
            self.deployment.manage("migrate", "--database", service, "-v0")
        self.standby.follow(str(self.primary.sockets))
        self.standby.start()
        there = {name.replace("DATABASE", "REPLICA"): urls[name].replace(*self._hosts()) for name in names}
        self.deployment.environment |= there

    def _hosts(self) -> list[str]:
        return [str(server.sockets).replace("/", "%2F") for server in (self.primary, self.standby)]

    def ask(self, statement: str) -> str:
        with psycopg.connect(f"host={self.standby.sockets} user=postgres dbname=postgres", autocommit=True) as standby:
            return str(standby.execute(statement).fetchone())  # type: ignore[arg-type]

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Within the block, the standby replays nothing."""
        self.ask("SELECT pg_wal_replay_pause()")
        eventually(lambda: "paused" in self.ask("SELECT pg_get_wal_replay_pause_state()"))
        try:
            yield
        finally:
            self.ask("SELECT pg_wal_replay_resume()")

    @contextmanager
    def hanging(self) -> Iterator[None]:
        """Within the block, every process of the standby stands still."""
        postmaster = int((self.standby.data / "postmaster.pid").read_text().split()[0])
        os.kill(postmaster, signal.SIGSTOP)
        children = Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text().split()
        processes = [postmaster, *map(int, children)]
        for process in processes:
            os.kill(process, signal.SIGSTOP)
        try:
            yield
        finally:
            for process in processes:
                with suppress(ProcessLookupError):  # a connection that was cut meanwhile
                    os.kill(process, signal.SIGCONT)

    def said(self) -> str:
        return (self.deployment.directory / "processes.log").read_text()

    def remove(self) -> None:
        for server in (self.standby, self.primary):
            if server.running():
                server.remove()


@pytest.fixture(scope="module")
def copy(template: Deployment, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Copy]:
    copy = Copy(Deployment.make(tmp_path_factory.mktemp("copied"), template))
    try:
        copy.make()
        yield copy
    finally:
        copy.remove()


@pytest.fixture(scope="module")
def web(copy: Copy) -> Iterator[Server]:
    with copy.deployment.server() as web:
        yield web


@pytest.fixture
def person(web: Server) -> str:
    """The URL of somebody whom the replica knows, and from which queries read."""
    made = web.client.post("/api/users/", json={"email": f"{time.monotonic_ns()}@example.org", "name": "Ann"}).json()
    path = f"/api/users/{made['id']}/"
    eventually(lambda: (replica_of(web)["away"], shown(web, path, made["position"]).status_code) == (False, 200))
    return path


def replica_of(web: Server) -> dict[str, object]:
    [found] = [each for each in web.client.get("/api/events/status/").json()["replicas"] if each["service"] == "users"]
    return dict(found)


def shown(web: Server, path: str, position: int) -> httpx.Response:
    return web.client.get(path, headers={"Min-Event-Position": str(position)})


def rename(web: Server, path: str, name: str) -> int:
    return int(web.client.post(f"{path}rename/", json={"name": name}).json()["position"])


def name_of(web: Server, path: str) -> str:
    return str(web.client.get(path).json()["name"])


def test_queries_read_at_the_replica_and_its_lag_is_shown(copy: Copy, web: Server, person: str) -> None:
    with copy.paused():
        position = rename(web, person, "Nea")
        # Not at once: on a busy machine the replica may seem to be away for a moment.
        eventually(lambda: name_of(web, person) == "Ann")
        eventually(lambda: "Nea" not in web.names())
        conditional = {"json": {"name": "Neo"}, "headers": {"If-Match": '"1"'}}
        assert web.client.post(f"{person}rename/", **conditional).status_code == 412  # a command knows the version
        eventually(lambda: shown(web, person, position).status_code == 503)
        assert [row["data"].get("name") for row in web.client.get(f"{person}history/").json()["results"]][-1] == "Nea"
        late = {"away": False, "lag_events": 1, "position": position - 1}
        eventually(lambda: late.items() <= replica_of(web).items())
        eventually(lambda: 'headrace_replica_lag_events{service="users"} 1.0' in web.client.get("/metrics").text)
        status = copy.deployment.manage("log_status")
        assert f"replica of users: at position {position - 1}, 1 events behind" in status
    assert shown(web, person, position).json()["name"] == "Nea"
    eventually(lambda: replica_of(web)["lag_events"] == 0)


@pytest.mark.parametrize("pairs", [60, pytest.param(1000, marks=pytest.mark.nightly)])
def test_a_query_with_a_position_is_never_stale_while_replay_pauses(
    copy: Copy, web: Server, person: str, pairs: int
) -> None:
    chance, stop = random.Random(pairs), threading.Event()

    def pause() -> None:
        while not stop.wait(chance.uniform(0.01, 0.1)):
            with copy.paused():
                stop.wait(chance.uniform(0.01, 0.15))

    pausing = threading.Thread(target=pause)
    pausing.start()
    old = 0
    try:
        for number in range(pairs):
            name = f"Ann {number}"
            position = rename(web, person, name)
            old += name_of(web, person) != name
            answer = shown(web, person, position)
            while answer.status_code == 503:
                answer = shown(web, person, position)
            assert (answer.status_code, answer.json()["name"]) == (200, name)
    finally:
        stop.set()
        pausing.join()
    assert old > pairs / 10  # without a position the replica was behind, so the queries did read there


def seconds(web: Server, path: str) -> float:
    began = time.monotonic()
    assert web.client.get(path).status_code == 200
    return time.monotonic() - began


def test_if_the_replica_is_killed_queries_read_at_the_primary_until_it_is_back(
    copy: Copy, web: Server, person: str
) -> None:
    copy.standby.kill()
    position = rename(web, person, "Anna")
    assert shown(web, person, position).json()["name"] == "Anna"
    assert max(seconds(web, person) for _ in range(20)) < 1.5
    assert replica_of(web)["away"] is True
    wrong = web.client.get("/api/events/status/").json()["wrong"]
    assert "the replica of users does not answer" in wrong
    assert 'headrace_replica_up{service="users"} 0.0' in web.client.get("/metrics").text
    assert "the replica of users does not answer" in copy.deployment.manage("log_status", check=False)
    assert web.client.get("/readyz").status_code == 200
    eventually(lambda: "the replica of users is away, so queries read at the primary" in copy.said())
    before = copy.said().count("the replica of users answers")
    copy.standby.start()
    eventually(lambda: copy.said().count("the replica of users answers") > before)
    with copy.paused():
        rename(web, person, "Anne")
        eventually(lambda: name_of(web, person) == "Anna")


def test_if_the_replica_hangs_no_query_waits_for_long(copy: Copy, web: Server, person: str) -> None:
    with copy.hanging():
        assert seconds(web, person) < 6  # it is asked there, until the replica does not answer a look
        assert max(seconds(web, person) for _ in range(20)) < 1.5
        position = rename(web, person, "Anna")
        assert shown(web, person, position).json()["name"] == "Anna"
        assert seconds(web, "/readyz") < 2
    eventually(lambda: replica_of(web)["away"] is False)
    eventually(lambda: copy.said().rstrip().count("the replica of users answers") >= 2)


def test_a_replica_that_is_none_of_this_database_answers_nothing(copy: Copy, person: str) -> None:
    wrong = copy.deployment.environment["USERS_REPLICA_URL"].replace("_users", "_orders")
    before = copy.said().count("the replica of users answers")
    with copy.deployment.server(USERS_REPLICA_URL=wrong) as web:
        assert web.client.get(person).json()["name"]
        eventually(lambda: copy.said().count("the replica of users answers") > before)
        assert all(web.client.get(person).status_code == 200 for _ in range(20))
        assert replica_of(web)["away"] is True
        assert "the replica of users cannot answer a query, so the primary does: " in copy.said()
