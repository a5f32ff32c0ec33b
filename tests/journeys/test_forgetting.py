"""Where an erased person could still be read: every file of a deployment is searched, byte by byte."""

import gzip
import json
import os
import random
import signal
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import httpx
import psycopg
import pytest

from tests.journeys.deployment import ROOT, Deployment, Server, eventually, free_port
from tests.support import engine
from tools import postgres

pytestmark = pytest.mark.direct  # pg_dump, psycopg and the server's files know no pooler

MARK = "Xanthippe"  # stands in the name and both addresses, and nowhere else


def settle(deployment: Deployment) -> None:
    """What docs/how-to/forget-a-person.md says is to be run for old pages and write-ahead logs to go."""
    if engine.POSTGRES:
        for url in deployment.urls().values():
            with psycopg.connect(url, autocommit=True) as connection:
                connection.execute("VACUUM (FULL, ANALYZE)")
        with psycopg.connect(engine.URL, autocommit=True) as connection:
            for _ in range(2):
                connection.execute("SELECT pg_switch_wal()")
                connection.execute("CHECKPOINT")
    else:
        for alias in postgres.aliases():
            with closing(sqlite3.connect(deployment.directory / f"{alias}.sqlite3")) as connection:
                connection.execute("VACUUM")
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def files(deployment: Deployment) -> Iterator[Path]:
    """Every file of the deployment: databases, write-ahead logs, exports, logs of processes; a dump of PostgreSQL.

    Of a server all but the databases of others.
    """
    others = set()
    if engine.POSTGRES:
        for alias, url in deployment.urls().items():
            dump = deployment.directory / f"{alias}.sql"
            subprocess.run([postgres.binaries() / "pg_dump", "-f", dump, url], check=True)
        query = f"SELECT oid::text FROM pg_database WHERE datname NOT LIKE '{deployment.prefix}\\_%'"
        others = {f"base/{oid}" for (oid,) in deployment.query("default", query)}
    folders = [deployment.directory, *([engine.SERVER.directory] if engine.SERVER else [])]
    for folder in folders:
        for path, _, names in os.walk(folder):
            if not path.endswith(tuple(others)):
                yield from (Path(path, name) for name in names)


def found(deployment: Deployment) -> list[str]:
    """The files in which the person can still be read."""
    marks = (MARK.encode(), MARK.lower().encode())
    hits = []
    for path in files(deployment):
        try:
            content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        except FileNotFoundError:
            continue  # the server removes its own
        if any(mark in content for mark in marks):
            hits.append(path.name)
    return hits


def live(server: Server, mark: str = MARK) -> str:
    """Someone of that name registers, orders, changes name and address, is deactivated with a reason and comes back."""
    own = {"email": f"{mark}.Quux@example.org", "name": f"{mark} Quux", "password": "correct horse battery"}
    api, staff = httpx.Client(base_url=f"{server.url}/api/"), server.client
    person = api.post("users/", json=own).json()["id"]
    token = api.post("auth/login/", json={"username": own["email"], "password": own["password"]}).json()["token"]
    api.headers["Authorization"] = f"Bearer {token}"
    lines = [{"sku": "A-1", "quantity": 2, "unit_price": "6.25"}]
    for _ in range(2):
        assert api.post("orders/", json={"currency": "EUR", "lines": lines}).status_code == 201
    assert api.post(f"users/{person}/rename/", json={"name": f"{mark} Married"}).status_code == 202
    assert (
        api.post(
            f"users/{person}/change-email/", json={"email": f"{mark}@example.net", "password": own["password"]}
        ).status_code
        == 202
    )
    assert staff.post(f"/api/users/{person}/deactivate/", json={"reason": f"{mark} asked"}).status_code == 202
    assert staff.post(f"/api/users/{person}/reactivate/").status_code == 202
    return person


def test_a_stream_tells_nothing_of_who_was_erased_meanwhile(deployment: Deployment) -> None:
    mark = "Philomena"  # the search below looks through the server's write-ahead log
    with deployment.server() as server, server.client.stream("GET", "/api/events/stream/") as watching:
        lines = watching.iter_lines()
        assert any("stream-open" in line for line in lines)
        person = live(server, mark)
        assert any(mark in line for line in lines)  # so this process has the events at hand
        assert server.client.post(f"/api/users/{person}/erase/", json={"reason": "by letter"}).status_code == 202
        assert any("UserErased" in line for line in lines)
        # Another thread of the server may be about to destroy the key. What stays at hand would be told for ever.
        eventually(lambda: mark not in (told := told_until_erasure(server)) and "[erased]" in told)


def told_until_erasure(server: Server) -> str:
    """What a new stream tells from the beginning of the log up to the erasure."""
    told = []
    with server.client.stream("GET", "/api/events/stream/?after=0") as again:
        for line in again.iter_lines():
            told.append(line)
            if "UserErased" in line:
                break
    return "".join(told)


# CustomerProjector cannot take a new name. What Python and the database say of that quotes the name and the row. And a
# process keeps the name, also in a command that nobody takes.
FAILING = """
from uuid import UUID
from config.asgi import application
from apps.eventlog.events import Personal
from apps.eventlog.processes import Process, on
from apps.orders.models import Customer
from apps.orders.read.projectors import CustomerProjector
from apps.users.events import UserRegistered
from apps.users.write.commands import RenameUser

def renamed(self, row, event, recorded):
    Customer.objects.filter(pk=row.pk).update(name=event.name)
    raise ValueError(f"{event.name} of {row.name} is no name")

CustomerProjector.renamed = renamed

class Greeting(Process):
    called: Personal[str] = ""

    @on(UserRegistered)
    def registered(self, event, recorded):
        self.called = event.name
        self.send(RenameUser(UUID(int=7), event.name))
"""
KEPT = "SELECT i.state, c.content FROM processes_instance i, processes_outgoingcommand c WHERE i.key = c.key"
CHECKS = {
    True: "ALTER TABLE orders_customer ADD CONSTRAINT plain CHECK (name NOT LIKE '%Married')",
    False: "CREATE TRIGGER plain BEFORE UPDATE ON orders_customer WHEN NEW.name LIKE '%Married' "
    "BEGIN SELECT RAISE(ABORT, 'not plain'); END",
}


@contextmanager
def failing_server(deployment: Deployment) -> Iterator[Server]:
    """A server in which a projection fails: in the database if that refuses the row, otherwise in Python."""
    module = deployment.directory / "failing_asgi.py"
    module.write_text(FAILING)
    port = free_port()
    arguments = ("-m", "uvicorn", "failing_asgi:application", "--app-dir", str(deployment.directory))
    with deployment.process(*arguments, "--port", str(port), "--lifespan", "off", PYTHONPATH=str(ROOT)) as process:
        server = Server(process, port, deployment.token)
        eventually(server.answers)
        yield server


@pytest.mark.parametrize("in_database", [False, True], ids=["in Python", "in the database"])
def test_neither_a_failing_projection_nor_an_unfinished_job_keeps_an_erased_person(
    deployment: Deployment, in_database: bool
) -> None:
    if in_database:
        deployment.execute("orders", CHECKS[engine.POSTGRES])
    with failing_server(deployment) as server:
        person = live(server)
        letters = deployment.query("orders", "SELECT status, error FROM orders_deadletter ORDER BY position")
        assert [status for status, _ in letters] == ["failed", *["waiting"] * 3]
        assert "IntegrityError" in letters[0][1] if in_database else "ValueError: … of … is no name" in letters[0][1]
        assert deployment.query("orders", "SELECT name FROM orders_customer") == [(f"{MARK} Quux",)]
        deployment.manage("replay_events", "--projector", "UserProjector", check=False, FAILPOINT="switching")
        [(left,)] = deployment.query("users", "SELECT name FROM users_user__rebuild")
        assert MARK in left
        eventually(lambda: str(deployment.query("processes", KEPT)).count(MARK) == 2)
        assert server.client.post(f"/api/users/{person}/erase/", json={"reason": "by letter"}).status_code == 202
        assert deployment.query("orders", "SELECT name FROM orders_customer") == [("[erased]",)]
        eventually(lambda: MARK not in str(deployment.query("processes", KEPT)))
    settle(deployment)
    assert found(deployment) == []


def test_a_search_of_every_file_finds_nothing_of_an_erased_person(deployment: Deployment) -> None:
    with deployment.server() as server:
        server.register(1)
        person = live(server)
        with server.client.stream("GET", "/api/events/stream/?after=0") as stream:
            assert any(MARK in line for line in stream.iter_lines())
        deployment.manage("export_events", str(deployment.directory / "before.jsonl.gz"))
        deployment.manage("seal_events")
        summary = server.client.get("/api/orders/summary/").json()
        assert found(deployment) != []
        assert server.client.post(f"/api/users/{person}/erase/", json={"reason": "by letter"}).status_code == 202
        assert server.client.get("/api/orders/summary/").json() == summary
        assert server.names() == ["User 1", "[erased]"]
    code = AFTERWARDS.format(directory=deployment.directory, person=person)
    assert "[erased]" in deployment.manage("shell", "-v0", "-c", code)
    settle(deployment)
    assert found(deployment) == []


AFTERWARDS = """
from django.core.management import call_command
call_command("replay_events")
call_command("replay_events", "--verify")
call_command("replay_events", "--until", "5", "--into", "{directory}/then")
call_command("export_events", "{directory}/after.jsonl.gz")
call_command("verify_log")
call_command("subject_report", "{person}")
"""


def erase(deployment: Deployment, person: str, killed_after: float | None = None) -> None:
    """`manage.py erase_user`, killed so many seconds after its start."""
    with deployment.process("manage.py", "erase_user", person, "--reason", "by letter") as process:
        try:
            assert process.wait(killed_after or 30) == 0
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)


def look(deployment: Deployment, *people: str) -> list[list[object]]:
    """Of each person: how many erasures the log and the ledger have, whether a key is left, and the name shown."""
    return json.loads(deployment.manage("shell", "-v0", "-c", LOOK.format(people=people)))


LOOK = """
import json
from apps.eventlog import store
from apps.eventlog.encryption import data_keys
from apps.eventlog.models import Erasure
from apps.orders.models import Customer
from apps.users.models import User
print(json.dumps([[
    len(list(store.read_all(types=["users.UserErased"], stream=f"user-{{id}}"))),
    Erasure.objects.filter(subject=id).count(),
    len(data_keys.find([id])), User.objects.get(id=id).name, Customer.objects.get(id=id).name,
] for id in {people}]))
"""


@pytest.mark.parametrize("kills", [1, pytest.param(100, marks=[pytest.mark.nightly, pytest.mark.timeout(1800)])])
def test_killed_at_a_random_instant_an_erasure_is_finished_by_the_next_run(deployment: Deployment, kills: int) -> None:
    chance = random.Random(kills)
    with deployment.server() as server:
        names = [f"{MARK} {number}" for number in range(kills + 1)]
        people = [
            server.client.post("/api/users/", json={"email": f"{MARK}{number}@example.org", "name": name}).json()["id"]
            for number, name in enumerate(names)
        ]
    began = time.monotonic()
    erase(deployment, people[0])
    whole = time.monotonic() - began
    for person in people[1:]:
        erase(deployment, person, killed_after=whole * chance.uniform(0.6, 1.0))
        erase(deployment, person)
    assert look(deployment, *people) == [[1, 1, 0, "[erased]", "[erased]"]] * len(people)
    settle(deployment)
    assert found(deployment) == []


def test_a_wrong_key_encryption_key_keeps_the_server_from_starting(deployment: Deployment) -> None:
    right = "b25lIHJpZ2h0IGtleSwgMzIgYnl0ZXMgb2YgaXQuLi4="
    with deployment.server(KEY_ENCRYPTION_KEY=right) as server:
        server.register(1)
    log = deployment.directory / "processes.log"
    asgi = ("-m", "uvicorn", "config.asgi:application", "--port", "0", "--lifespan", "off")
    wsgi = ("-c", "import config.wsgi; print('served')")
    for arguments, wrong in ((asgi, "bm90IHRoZSBrZXksIG5vdCB0aGUga2V5LCBub3QgaXQ="), (wsgi, "")):
        with deployment.process(*arguments, KEY_ENCRYPTION_KEY=wrong) as process:
            assert process.wait(30) == 1
        assert "Headrace does not start" in log.read_text().splitlines()[-1]
    with deployment.server(KEY_ENCRYPTION_KEY=right) as server:
        assert server.names() == ["User 1"]
