"""One client cannot stop the others: under each attack they are answered, and the server's memory is bounded."""

import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import httpx
import psycopg
import pytest

from tests.journeys import attacks
from tests.journeys.attacks import Attack, attacking
from tests.journeys.deployment import Deployment, Server, eventually
from tests.journeys.sse import as_customer
from tests.support import engine

PATIENCE = 1.5  # seconds of the server's clients
WORST = 6.0  # seconds for an answer, on a machine that does other things; a quiet one is below 1
GROWTH = 200 * 1024 * 1024  # bytes
LONG = [pytest.mark.nightly, pytest.mark.timeout(300)]
LENGTHS = [3.0, pytest.param(20.0, marks=LONG)]

ATTACKS: dict[str, tuple[Attack, int]] = {
    "logins that nobody waits for": (attacks.leave_a_login, 60),
    "waits for the future": (attacks.wait_for_the_future, 48),
    "slow heads": (attacks.send_a_head_slowly, 200),
    "slow bodies": (attacks.send_a_body_slowly, 200),
    "heads without end": (attacks.send_a_head_without_end, 10),
    "large bodies kept back": (attacks.keep_a_large_body_back, 150),
    "large bodies": (attacks.send_a_large_body, 30),
    "answers that nobody takes": (attacks.take_no_answer, 150),
    "connections that say nothing": (attacks.connect_and_say_nothing, 1100),
}
REACHING = ["logins that nobody waits for", "waits for the future", "answers that nobody takes"]
# The others come no further than the server, which is the same on both engines: at length they are tried on both.
CASES = [
    *(pytest.param(name, 3.0, marks=[] if name in REACHING else pytest.mark.sqlite) for name in ATTACKS),
    *(pytest.param(name, 20.0, marks=LONG) for name in ATTACKS),
]


@contextmanager
def files_at_most(number: int) -> Iterator[None]:
    """A process that begins in this block can open so many files."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (number, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


class Bystanders:
    """Another customer, a member of staff and a probe: how long they wait at worst, in seconds."""

    def __init__(self, server: Server, customer: dict[str, str]) -> None:
        self.server, self.number, self.worst = server, 100, dict.fromkeys(("query", "command", "probe"), 0.0)
        self.headers = {"query": customer, "command": {"Authorization": f"Bearer {server.token}"}, "probe": {}}

    def ask(self, what: str) -> httpx.Response:
        self.number += 1
        method, path, body = {
            "query": ("GET", "/api/orders/?limit=1", None),
            "command": ("POST", "/api/users/", {"email": f"u{self.number}-{time.time()}@example.org", "name": "U"}),
            "probe": ("GET", "/readyz", None),
        }[what]
        return httpx.request(method, self.server.url + path, json=body, headers=self.headers[what], timeout=WORST)

    def look(self) -> None:
        for what in self.worst:
            began = time.monotonic()
            try:
                assert self.ask(what).status_code in (200, 201), what
            except httpx.TransportError as error:
                raise AssertionError(f"no answer to the {what} after {time.monotonic() - began:.1f} s") from error
            self.worst[what] = max(self.worst[what], time.monotonic() - began)


def memory(server: Server) -> int:
    """The bytes that the server's process holds."""
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) * 1024


def withstand(server: Server, bystanders: Bystanders, attack: Attack, number: int, seconds: float) -> None:
    for _ in range(3):
        bystanders.look()  # all that is made once is there
    before = most = memory(server)
    bystanders.worst = dict.fromkeys(bystanders.worst, 0.0)
    with attacking(server, attack, number):
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            bystanders.look()
            most = max(most, memory(server))
    figures = {what: round(worst, 2) for what, worst in bystanders.worst.items()}
    print(f"{number} times: seconds at worst {figures}, {(most - before) // 1024**2} MB more")  # noqa: T201
    eventually(partial(_is_well, bystanders), 5)
    assert most - before < GROWTH, f"{(most - before) // 1024**2} MB"


def _is_well(bystanders: Bystanders) -> bool:
    bystanders.worst = dict.fromkeys(bystanders.worst, 0.0)
    bystanders.look()
    return max(bystanders.worst.values()) < 1


@pytest.fixture(scope="module")
def stage(template: Deployment, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Bystanders]]:
    """A server without a worker, so that there are positions that it will never show; with few files to open."""
    deployment = Deployment.make(tmp_path_factory.mktemp("attacked"), template)
    with files_at_most(1000):
        serving = deployment.server(PROJECTIONS="worker", CLIENT_PATIENCE=str(PATIENCE))
        server = serving.__enter__()
    try:
        yield server, Bystanders(server, as_customer(server, 1)[1])
    finally:
        serving.__exit__(None, None, None)


@pytest.mark.parametrize(("name", "seconds"), CASES)
def test_others_are_answered_under(stage: tuple[Server, Bystanders], name: str, seconds: float) -> None:
    withstand(*stage, *ATTACKS[name], seconds)


@pytest.mark.sqlite
@pytest.mark.parametrize("attack", [attacks.send_a_head_slowly, attacks.send_a_body_slowly, attacks.take_no_answer])
def test_who_is_too_slow_is_cut_off(stage: tuple[Server, Bystanders], attack: Attack) -> None:
    """All of them at some time, though a new one takes the place of each."""
    server, _ = stage
    ended: set[int] = set()

    async def once(server: Server, number: int) -> None:
        try:
            await attack(server, number)
        finally:
            ended.add(number)

    with attacking(server, once, 20):
        eventually(lambda: len(ended) == 20, 6 * PATIENCE)


@pytest.mark.postgres
@pytest.mark.parametrize("seconds", LENGTHS)
def test_others_are_answered_while_the_queries_of_one_login_hang(deployment: Deployment, seconds: float) -> None:
    with deployment.server() as server:
        bystanders = Bystanders(server, as_customer(server, 1)[1])
        bystanders.headers["query"] = as_customer(server, 2)[1]
        path = "/api/users/"
        with psycopg.connect(engine.URL, dbname=f"{deployment.prefix}_orders") as holder:
            bystanders.look()
            bystanders.ask = partial(_ask_users, bystanders, path)  # type: ignore[method-assign]
            holder.execute("LOCK TABLE orders_order")
            withstand(server, bystanders, attacks.ask("/api/orders/", server.token), 24, seconds)


def _ask_users(bystanders: Bystanders, path: str, what: str) -> httpx.Response:
    headers = bystanders.headers["query"]
    return httpx.get(bystanders.server.url + (path if what == "query" else "/readyz"), headers=headers, timeout=WORST)
