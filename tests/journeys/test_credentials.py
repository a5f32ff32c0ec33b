"""Passwords and tokens over the shipped server: who guesses is stopped by all processes together, and nothing leaks."""

import json
import re
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import httpx
import pytest
from django.db import connections

from tests.journeys.deployment import Deployment
from tests.journeys.sse import listening
from tests.support import engine

ANN = {"email": "ann@example.org", "name": "Ann", "password": "correct horse battery"}
WRONG = "incorrect donkey accumulator"


def windows(started: float, seconds: int) -> int:
    """How many periods of a throttle have been touched since: each has its own count."""
    return int(time.time() // seconds) - int(started // seconds) + 1


@contextmanager
def two_processes(deployment: Deployment) -> Iterator[Callable[[int, str, dict[str, str]], int]]:
    """Sends to one process of a deployment or the other, by number."""
    with deployment.server() as one, deployment.server() as two:
        clients = [httpx.Client(base_url=f"{server.url}/api/", timeout=60) for server in (one, two)]
        yield lambda number, path, body: clients[number % 2].post(path, json=body).status_code


def test_guesses_are_counted_by_all_processes_together(deployment: Deployment) -> None:
    with two_processes(deployment) as send, ThreadPoolExecutor(20) as pool:
        started, guess = time.time(), {"username": ANN["email"], "password": WRONG}
        answers = list(pool.map(lambda number: send(number, "auth/login/", guess), range(100)))
        assert set(answers) == {401, 429}
        assert answers.count(401) <= 10 * windows(started, 60)


@pytest.mark.nightly
def test_registrations_are_counted_by_all_processes_together(deployment: Deployment) -> None:
    with two_processes(deployment) as send, ThreadPoolExecutor(20) as pool:
        started, people = time.time(), [ANN | {"email": f"u{number}@example.org"} for number in range(100)]
        answers = list(pool.map(lambda number: send(number, "users/", people[number]), range(100)))
        assert set(answers) == {201, 429}
        assert answers.count(201) <= 20 * windows(started, 3600)


def dump(deployment: Deployment, alias: str) -> str:
    """Every row of every table of a database, as text."""
    if engine.POSTGRES:
        tables = "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
    else:
        tables = "SELECT name FROM sqlite_master WHERE type = 'table'"
    rows = {name: deployment.query(alias, f'SELECT * FROM "{name}"') for [name] in deployment.query(alias, tables)}
    return str({name: content for name, content in rows.items() if name != "auth_user"})


def test_nowhere_is_a_password_a_hash_of_one_or_a_token_that_could_be_used(deployment: Deployment) -> None:
    with deployment.server() as server:
        client = httpx.Client(base_url=server.url)
        client.post("/api/users/", json=ANN, headers={"Idempotency-Key": "k"}).raise_for_status()
        login = {"username": ANN["email"], "password": ANN["password"]}
        tokens = [client.post("/api/auth/login/", json=login).json()["token"] for _ in range(2)]
        client.post("/api/auth/login/", json=login | {"password": WRONG})
        client.post("/api/users/", json=ANN | {"email": "no", "password": WRONG})
        headers = {"Authorization": f"Bearer {tokens[0]}"}
        user = client.get("/api/users/", headers=headers).json()["results"][0]["id"]
        client.post(f"/api/users/{user}/erase/", json={"password": WRONG}, headers=headers)
        client.get("/api/orders/", headers={"Authorization": f"Bearer {tokens[1][:-1]}"})
        with listening(server, "?after=0") as stream:
            streamed = json.dumps(next(stream.documents()))
        [[kept]] = deployment.query("default", "SELECT password FROM auth_user WHERE username <> 'admin'")
        places = {alias: dump(deployment, alias) for alias in connections}
        places |= {"stream": streamed, "feed": server.client.get("/api/events/?limit=1000").text}
        places |= {"log file": (deployment.directory / "processes.log").read_text()}
        assert kept.startswith("argon2")
        secrets = [ANN["password"], WRONG, kept, kept.rpartition("$")[2], *tokens, server.token]
        assert [(place, secret) for place, text in places.items() for secret in secrets if secret in text] == []
        assert not re.search("argon2|pbkdf2", "".join(places.values()))
        for row in deployment.query("default", "SELECT * FROM knox_authtoken"):
            for value in map(str, row):
                answer = client.get("/api/orders/", headers={"Authorization": f"Bearer {value}"})
                assert answer.status_code == 401


def test_the_scan_finds_a_secret_that_was_planted(deployment: Deployment) -> None:
    deployment.manage("shell", "-v0", "-c", PLANT)
    assert WRONG in dump(deployment, "eventlog")


PLANT = (
    "from apps.eventlog import store; from apps.orders.events import OrderDelivered;"
    f"store.append('order-1', [OrderDelivered()], expected_version=0, metadata={{'note': {WRONG!r}}})"
)
