"""A database that cannot be reached, or is locked: 503 where it is needed, 200 where not, and it heals by itself."""

import os
import signal
import sqlite3
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import psycopg
import pytest
from django.core.signals import request_started
from django.db import connections

from apps.orders.models import Order
from tests.journeys.deployment import Deployment, Server, eventually
from tests.support import engine


@contextmanager
def outage(deployment: Deployment, alias: str) -> Iterator[None]:
    """Another process holds the SQLite file's write lock, or PostgreSQL ends all connections and lets none in."""
    if not engine.POSTGRES:
        holder = sqlite3.connect(deployment.directory / f"{alias}.sqlite3", isolation_level=None)
        holder.execute("BEGIN IMMEDIATE")
        yield
        holder.close()
        return
    name = f"{deployment.prefix}_{alias}"
    with psycopg.connect(engine.URL, autocommit=True) as superuser:
        allow = "UPDATE pg_database SET datallowconn = %s WHERE datname = %s"
        superuser.execute(allow, [False, name])
        superuser.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name])
        yield
        superuser.execute(allow, [True, name])


@contextmanager
def standstill(deployment: Deployment) -> Iterator[None]:
    """Another process holds the log, so whoever appends waits."""
    if not engine.POSTGRES:
        with outage(deployment, "eventlog"):
            yield
        return
    with psycopg.connect(engine.URL, dbname=f"{deployment.prefix}_eventlog") as holder:
        holder.execute("LOCK TABLE eventlog_event")
        yield


def names(server: Server) -> list[str]:
    """The users' names; queries keep nobody waiting here, so an outage shows as an empty list."""
    answer = server.client.get("/api/users/")
    return sorted(user["name"] for user in answer.json()["results"]) if answer.status_code == 200 else []


def test_without_the_log_commands_are_503_and_queries_are_200(deployment: Deployment) -> None:
    with deployment.server(SQLITE_TIMEOUT="1") as server:
        assert server.register(1).status_code == 201
        with outage(deployment, "eventlog"):
            refused = server.register(2)
            assert (refused.status_code, refused.headers["Content-Type"]) == (503, "application/problem+json")
            assert int(refused.headers["Retry-After"]) >= 1
            assert names(server) == ["User 1"]
            assert server.client.get("/livez").status_code == 200
        eventually(lambda: server.register(2).status_code == 201)
        assert names(server) == ["User 1", "User 2"]


def test_while_commands_hang_queries_and_probes_answer_and_a_full_queue_says_so(deployment: Deployment) -> None:
    with deployment.server(COMMAND_THREADS="1", WEB_QUEUE="4") as server, ThreadPoolExecutor(8) as others:
        with standstill(deployment):
            hanging = [others.submit(server.register, number) for number in range(8)]
            eventually(lambda: sum(command.done() for command in hanging) == 5)  # one runs, two wait: half the queue
            for path in ("/livez", "/readyz", "/api/users/"):
                assert server.client.get(path, timeout=5).status_code == 200
            refused = [command.result() for command in hanging if command.done()]
            assert {(answer.status_code, answer.headers["Retry-After"]) for answer in refused} == {(503, "1")}
            assert refused[0].json()["detail"] == "too many requests wait for the server"
        assert sorted(command.result().status_code for command in hanging) == [201] * 3 + [503] * 5


def test_without_a_read_database_commands_are_accepted_and_the_rows_catch_up(deployment: Deployment) -> None:
    with deployment.server(SQLITE_TIMEOUT="1") as server:
        body = {"customer_id": server.register(1).json()["id"], "currency": "EUR"}
        body["lines"] = [{"sku": "A-1", "quantity": 1, "unit_price": "1.00"}]
        with outage(deployment, "orders"):
            assert server.register(2).status_code == 201
            assert names(server) == ["User 1", "User 2"]
        with outage(deployment, "users"):
            eventually(lambda: server.client.post("/api/orders/", json=body).status_code == 201)
            assert names(server) == ([] if engine.POSTGRES else ["User 1", "User 2"])
            assert server.register(3).status_code == 201
        with outage(deployment, "keys"):
            # What is said of a person is encrypted under a key that lies there.
            assert server.register(4).status_code == 503
        eventually(lambda: server.register(4).status_code == 201)
        assert names(server) == ["User 1", "User 2", "User 3", "User 4"]
        assert server.client.get(f"/api/orders/?customer={body['customer_id']}").json()["results"] != []


@pytest.mark.postgres
def test_the_probe_of_readiness_names_the_database_that_is_away(deployment: Deployment) -> None:
    with deployment.server() as server:
        assert server.client.get("/readyz").status_code == 200
        with outage(deployment, "orders"):
            answer = server.client.get("/readyz")
            assert (answer.status_code, answer.json()["orders"], answer.json()["users"]) == (503, "away", True)
            assert server.client.get("/api/orders/").status_code == 503
        eventually(lambda: server.client.get("/readyz").status_code == 200)


@contextmanager
def stopped(processes: list[int]) -> Iterator[None]:
    """Processes that do nothing any more, and yet keep their connections."""
    for process in processes:
        os.kill(process, signal.SIGSTOP)
    try:
        yield
    finally:
        for process in processes:
            os.kill(process, signal.SIGCONT)


@pytest.mark.postgres
def test_while_the_backends_of_the_log_hang_queries_and_probes_answer(deployment: Deployment) -> None:
    with deployment.server() as server, ThreadPoolExecutor(20) as others:
        assert server.register(100).status_code == 201
        backends = f"SELECT pid FROM pg_stat_activity WHERE datname = '{deployment.prefix}_eventlog'"
        with stopped([pid for (pid,) in deployment.query("default", backends)]):
            commands = [others.submit(server.register, number) for number in range(20)]
            eventually(lambda: any(command.running() for command in commands))
            for path in ("/api/users/", "/readyz", "/api/orders/") * 5:
                assert server.client.get(path, timeout=5).status_code == 200
            assert not all(command.done() for command in commands)
        assert {command.result().status_code for command in commands} <= {201, 503}
        eventually(lambda: server.register(101).status_code == 201)


@pytest.mark.postgres
@pytest.mark.direct  # sessions of a pooler go on
def test_while_the_whole_of_postgresql_hangs_the_probe_says_so_in_time(deployment: Deployment) -> None:
    assert engine.SERVER is not None
    postmaster = int((engine.SERVER.data / "postmaster.pid").read_text().split()[0])
    with deployment.server() as server:
        assert server.client.get("/readyz").status_code == 200
        with stopped([postmaster]):
            began = time.monotonic()
            answer = server.client.get("/readyz")
            assert time.monotonic() - began < 5  # 1.5 s if the machine does nothing else
            assert (answer.status_code, set(answer.json().values())) == (503, {"away"})
            assert server.client.get("/livez").status_code == 200
        eventually(lambda: server.client.get("/readyz").status_code == 200)


@pytest.mark.postgres
def test_a_connection_that_the_server_has_ended_is_none_that_a_request_uses() -> None:
    with connections["orders"].cursor() as ours, connections["users"].cursor() as other:
        ours.execute("SELECT pg_backend_pid()")
        other.execute("SELECT pg_terminate_backend(%s, 5000)", ours.fetchone())
    request_started.send(sender=None)
    assert Order.objects.count() == 0
