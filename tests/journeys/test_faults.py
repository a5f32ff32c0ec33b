"""Lines cut, disks full, power lost, crowds of retries: what was acknowledged is there once, and it heals by itself."""

import os
import random
import shutil
import sqlite3
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import count
from pathlib import Path
from urllib.parse import unquote, urlsplit
from uuid import uuid4

import httpx
import psycopg
import pytest
from django.db import Error, connections

from apps.eventlog import store
from apps.users.events import UserRegistered
from tests.eventlog.events import Counted
from tests.journeys.deployment import Deployment, Server, eventually
from tests.journeys.faults import Proxy, fill, small_disk
from tests.journeys.load import Load, Request
from tests.support import checker, engine
from tests.support.checker import History

pytestmark = pytest.mark.direct  # it kills the server, or stands between it and its clients

LINE = {"sku": "A", "quantity": 1, "unit_price": "1.00"}
ROUNDS = int(os.environ.get("ROUNDS", "1"))  # `make soak` has more of them


def send(server: Server, name: str, key: str) -> httpx.Response:
    body = {"email": f"{name}@example.org", "name": name}
    return server.client.post("/api/users/", json=body, headers={"Idempotency-Key": key})


def names_in_log(server: Server) -> list[str]:
    feed = server.client.get("/api/events/?limit=1000&type=users.UserRegistered").json()
    return [event["data"]["name"] for event in feed["results"]]


def test_an_answer_lost_on_its_way_is_given_again_and_makes_one_event(deployment: Deployment) -> None:
    with deployment.server() as server, Proxy(("127.0.0.1", server.port)) as line:
        through = Server(server.process, line.port, server.token)
        for number in range(ROUNDS):
            name = f"cut-{number}"
            line.cut_reply_to(b"POST /api/users/")
            with pytest.raises(httpx.TransportError):
                send(through, name, name)
            assert send(through, name, name).json()["position"] == number + 1
        assert names_in_log(server) == [f"cut-{number}" for number in range(ROUNDS)]


@pytest.mark.postgres
def test_a_commit_whose_reply_is_lost_counts_once(deployment: Deployment) -> None:
    url = urlsplit(deployment.urls()["EVENTLOG_DATABASE_URL"])
    with Proxy(f"{unquote(url.hostname or '')}/.s.PGSQL.5432") as line:
        by_line = f"postgres://{url.username}@127.0.0.1:{line.port}{url.path}"
        with deployment.server(EVENTLOG_DATABASE_URL=by_line) as server:
            customer = server.register(1).json()["id"]
            body = {"customer_id": customer, "currency": "EUR", "lines": [LINE]}
            for number in range(ROUNDS):
                order = server.client.post("/api/orders/", json=body).json()["id"]
                path, key = f"/api/orders/{order}/pay/", {"Idempotency-Key": str(number)}
                pay = partial(server.client.post, path, json={"payment_reference": "p"}, headers=key)
                line.cut_reply_to(b"COMMIT", spare=1)  # the first is of the key, the second of the event
                refused = pay()
                assert (refused.status_code, refused.headers["Content-Type"]) == (503, "application/problem+json")
                assert pay().json()["version"] == 2
                history = server.client.get(f"/api/orders/{order}/history/").json()["results"]
                assert [event["type"] for event in history] == ["orders.OrderPlaced", "orders.OrderPaid"]


def test_fifty_retries_at_once_with_one_key_are_one_event(deployment: Deployment) -> None:
    with deployment.server() as server:
        for number in range(ROUNDS):
            barrier, name = threading.Barrier(50), f"crowd-{number}"

            def retry(_: int, name: str = name, barrier: threading.Barrier = barrier) -> httpx.Response:
                with Server(server.process, server.port, server.token).client as client:
                    barrier.wait(timeout=30)
                    body = {"email": f"{name}@example.org", "name": name}
                    return client.post("/api/users/", json=body, headers={"Idempotency-Key": name})

            with ThreadPoolExecutor(50) as pool:
                answers = list(pool.map(retry, range(50)))
            assert {answer.status_code for answer in answers} <= {201, 409}
            assert len({answer.text for answer in answers if answer.status_code == 201}) == 1
        assert names_in_log(server) == [f"crowd-{number}" for number in range(ROUNDS)]


@contextmanager
def log_on_a_small_disk(deployment: Deployment) -> Iterator[tuple[Path, dict[str, str]]]:
    """The event log alone on a disk of 12 MB: that disk, and the environment of a server that uses it."""
    with ExitStack() as stack:
        if not engine.POSTGRES:
            disk = stack.enter_context(small_disk())
            sqlite3.connect(deployment.directory / "eventlog.sqlite3").execute("PRAGMA wal_checkpoint(TRUNCATE)")
            shutil.copy(deployment.directory / "eventlog.sqlite3", disk)
            yield disk, {"EVENTLOG_DATABASE_URL": f"sqlite:///{disk}/eventlog.sqlite3"}
            return
        assert engine.SERVER is not None, "a server of POSTGRES_URL has its disk elsewhere"
        disk = stack.enter_context(small_disk(24 * 1024 * 1024, engine.SERVER.user or "root"))
        superuser = stack.enter_context(psycopg.connect(engine.URL, autocommit=True))
        superuser.execute(f"CREATE TABLESPACE small LOCATION '{disk}'")  # type: ignore[arg-type]
        stack.callback(superuser.execute, "DROP TABLESPACE small")
        name = f"{deployment.prefix}_eventlog"
        superuser.execute(f'ALTER DATABASE "{name}" SET TABLESPACE small')  # type: ignore[arg-type]
        stack.callback(superuser.execute, f'DROP DATABASE "{name}" WITH (FORCE)')  # type: ignore[arg-type]
        yield disk, {}


@pytest.mark.mounts
def test_a_full_disk_refuses_commands_and_heals_when_there_is_room(deployment: Deployment) -> None:
    with log_on_a_small_disk(deployment) as (disk, environment), deployment.server(**environment) as server:
        acknowledged = []
        for number in range(ROUNDS):
            filler = fill(disk)
            for attempt in range(2000):
                answer = server.register(attempt + number * 2000)
                if answer.status_code != 201:
                    break
                acknowledged.append(f"User {attempt + number * 2000}")
            assert (answer.status_code, answer.headers["Content-Type"]) == (503, "application/problem+json")
            assert server.client.get("/api/users/").status_code == 200
            filler.unlink()
            eventually(lambda number=number: server.register(10_000_000 + number).status_code == 201)
            acknowledged.append(f"User {10_000_000 + number}")
        listed = server.client.get("/api/events/?limit=1000").json()["results"]
        assert [event["data"]["name"] for event in listed] == acknowledged[:1000]


def test_killed_at_random_under_load_nothing_is_lost_doubled_or_out_of_order(deployment: Deployment) -> None:
    chance, history = random.Random(1), History()
    with ExitStack() as stack:
        server = stack.enter_context(deployment.server())
        load = Load(server.url, server.token, history, seed=1)
        with load.running():
            for _ in range(2):
                time.sleep(chance.uniform(0.2, 0.6))
                server.process.kill()
                server.process.wait()
                before = len(history.calls)
                server = stack.enter_context(deployment.server(port=server.port))
                eventually(lambda before=before: any(call.result == "ok" for call in history.calls[before:]))
        last = Request("last", "/api/users/", UserRegistered("last@example.org", "Last"))
        assert load.send(load.client(), last)  # which projects what the dead have left
        fold, rows = deployment.rows()
    assert [*load.broken, *checker.faults(history, deployment.log()), *checker.rows_differ(fold, rows)] == []
    assert sum(call.result == "ok" for call in history.calls) > 5


def power_cut() -> None:
    """Every process of the suite's own PostgreSQL dies at once, and it is started again."""
    assert engine.SERVER is not None, "a server of POSTGRES_URL is not ours to kill"
    engine.SERVER.kill()
    connections.close_all()
    engine.SERVER.start()


numbers = count(1)


def append_until_the_power_is_cut(setting: str) -> tuple[History, list[store.RecordedEvent]]:
    """Eight writers, whose sessions have this setting, and what the log holds of theirs afterwards."""
    history, dead = History(), threading.Event()

    def write() -> None:
        try:
            connections["eventlog"].cursor().execute(setting)
            for number in numbers:
                event, stream = Counted(number), f"thing-{uuid4()}"
                call = history.call(str(number), event, stream=stream)
                done = store.append(stream, [event], expected_version=0)
                call.end("ok", (stream, done.version, done.position))
        except Error:
            dead.wait(timeout=30)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(8) as pool:
        writers = [pool.submit(write) for _ in range(8)]
        eventually(lambda: len(history.calls) > 200)
        power_cut()
        dead.set()
        for writer in writers:
            writer.result()
    return history, list(store.read_all())


@pytest.mark.postgres
def test_after_a_power_cut_every_acknowledged_event_is_there() -> None:
    for _ in range(ROUNDS):
        history, log = append_until_the_power_is_cut("SELECT 1")
        mine = {call.events[0].payload()["n"] for call in history.calls}  # type: ignore[attr-defined]
        assert checker.faults(history, [recorded for recorded in log if recorded.data["n"] in mine]) == []


@pytest.mark.postgres
def test_the_same_check_catches_acknowledgements_ahead_of_the_disk() -> None:
    history, log = append_until_the_power_is_cut("SET synchronous_commit = off")
    faults = checker.nothing_lost_doubled_or_invented(history, log)
    assert faults
    assert all(fault.endswith("which is ok, is in the log 0 times") for fault in faults)


@pytest.mark.postgres
def test_no_position_that_a_follower_has_passed_is_given_again_after_a_power_cut() -> None:
    """A rolled back append has taken a position that no commit has written down."""
    store.append("thing-1", [Counted(1)], expected_version=0)
    connections["eventlog"].cursor().execute("CHECKPOINT")
    with pytest.raises(InterruptedError), store.unit():
        store.append("thing-2", [Counted(2)], expected_version=0)
        raise InterruptedError
    passed = store.safe_position()
    power_cut()
    assert store.append("thing-2", [Counted(3)], expected_version=0).position > passed
