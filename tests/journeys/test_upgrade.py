"""A new version is deployed while an old one serves: the data of earlier commits, with their servers and workers."""

import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from apps.users.events import email_key
from tests.journeys.deployment import ROOT, STAFF_TOKEN, Deployment, Server, eventually
from tests.support import engine
from tools import postgres

pytestmark = pytest.mark.direct  # it names its databases itself

# The first commit whose data people have, and the last before addresses were compared by their mailbox.
COMMITS = ["84897c4", "f1d1d7d"]
AS_WRITTEN, AS_LABEL = "bücher.example", "xn--bcher-kva.example"  # one domain, which the old code took for two
SECRET = "correct horse battery"


def source(commit: str, directory: Path) -> Path:
    """The files of an earlier commit."""
    archive = subprocess.run(["git", "archive", commit], cwd=ROOT, capture_output=True, check=False)
    if archive.returncode:
        pytest.skip(f"the history of the source is not here: {archive.stderr.decode().strip()}")
    directory.mkdir()
    subprocess.run(["tar", "-x", "-C", str(directory)], input=archive.stdout, check=True)
    return directory


@pytest.fixture(params=COMMITS)
def old(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Deployment:
    """A deployment of an earlier commit with its demo data and a staff login."""
    data = tmp_path_factory.mktemp("upgrade")
    urls = postgres.databases(engine.URL, f"journey_{engine.WORKER}_{data.name}".lower()) if engine.POSTGRES else {}
    old = Deployment(data, urls, source(request.param, tmp_path_factory.mktemp("source") / request.param))
    old.manage("migrate", "-v0")
    with old.process("examples/demo.py") as demo:
        assert demo.wait(120) == 0
    old.token = old.manage("shell", "-v0", "-c", STAFF_TOKEN).split()[-1]
    return old


def register(server: Server, email: str) -> httpx.Response:
    body = {"email": email, "name": "Zoë", "password": SECRET}
    return server.client.post("/api/users/", json=body)


def order(server: Server, customer: str) -> httpx.Response:
    line = {"sku": "TÉ-1", "quantity": 2, "unit_price": "1.50"}
    return server.client.post("/api/orders/", json={"customer_id": customer, "currency": "EUR", "lines": [line]})


@contextmanager
def renaming(server: Server, user: str) -> Iterator[list[str]]:
    """Meanwhile a client renames a user on a server, again and again; the names that were acknowledged."""
    acknowledged: list[str] = []
    stop = threading.Event()

    def work() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            answer = server.client.post(f"/api/users/{user}/rename/", json={"name": f"Name {number}"})
            if answer.status_code == 202:
                acknowledged.append(f"Name {number}")

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield acknowledged
    finally:
        stop.set()
        thread.join()


def emails(server: Server) -> list[str]:
    """The addresses of all active users, page by page."""
    found, url = [], "/api/users/?limit=200&status=active"
    while url:
        page = server.client.get(url).json()
        found += [user["email"] for user in page["results"]]
        url = page["next"]
    return found


@pytest.mark.nightly
@pytest.mark.timeout(600)
def test_data_of_an_old_version_opens_while_its_server_and_worker_run(old: Deployment) -> None:
    new = Deployment(old.directory, old.urls())
    new.token = old.token
    with old.server() as before, old.worker():
        early = register(before, f"early@{AS_WRITTEN}").json()["id"]
        assert order(before, early).status_code == 201
        known = set(emails(before))
        assert len(known) > 5
        with renaming(before, early) as names:
            eventually(lambda: len(names) > 3)
            new.manage("migrate", "-v0")
        with new.server() as after:
            side_by_side(before, after, early)
            assert before.client.get("/api/users/").status_code == 200
            assert order(before, early).status_code == 201  # which the old code may append, and the new code projects
        new.manage("run_projectors", "--once")
        everything_is_there(new, known, names)


def side_by_side(before: Server, after: Server, early: str) -> None:
    """Both servers are sent new addresses at the same time, in the forms that are one address to the new code."""
    assert register(after, f"early@{AS_LABEL}").status_code == 409
    with ThreadPoolExecutor(2) as pool:
        for number in range(10):
            one = pool.submit(register, before, f"new{number}@{AS_WRITTEN}")
            other = pool.submit(register, after, f"new{number}@{AS_LABEL}")
            assert (one.result().status_code, one.result().headers["Retry-After"]) == (503, "2")
            assert other.result().status_code == 201
    body = {"email": f"changed@{AS_WRITTEN}", "password": SECRET}
    assert before.client.post(f"/api/users/{early}/change-email/", json=body).status_code >= 400


def everything_is_there(new: Deployment, known: set[str], names: list[str]) -> None:
    for service in ("users", "orders"):
        assert new.query(service, f"SELECT count(*) FROM {service}_deadletter") == [(0,)]
    new.manage("replay_events", "--verify", "--no-progress")
    new.manage("seal_events", "--no-progress")
    new.manage("verify_log", "--no-progress")
    new.manage("rebuild_reservations", "--no-progress")
    fold, live = new.rows()
    assert live == fold
    with new.server() as server:
        found = emails(server)
        assert known <= set(found)
        assert len({email_key(email) for email in found}) == len(found)
        assert {f"new{number}@{AS_LABEL}" for number in range(10)} <= set(found)
        renamed = [event.data["name"] for event in new.log() if event.type == "users.UserRenamed"]
        assert [name for name in renamed if name in set(names)] == names
