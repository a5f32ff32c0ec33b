"""Two web processes and writers in and outside them, clients that come and go: each sees the log, filtered."""

import random
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from threading import Event, Thread
from typing import Any

import httpx
import pytest

from tests.journeys.deployment import Deployment, Server, eventually
from tests.journeys.sse import Stream, as_customer

Document = dict[str, Any]

WRITER = """
import time; from decimal import Decimal; from uuid import UUID, uuid4
from apps.eventlog.dispatch import dispatch
from apps.orders.events import OrderLine
from apps.orders.write.commands import CancelOrder, PayOrder, PlaceOrder
from apps.users.write.commands import RegisterUser, RenameUser
customers, end = [UUID(id) for id in {customers}], time.monotonic() + {seconds}
while time.monotonic() < end:
    for customer in customers:
        order = uuid4()
        dispatch(PlaceOrder(order, customer, "EUR", (OrderLine("A", 1, Decimal("2.00")),)))
        dispatch(PayOrder(order, "p") if order.int % 2 else CancelOrder(order, "changed my mind"))
    dispatch(RenameUser(customers[0], str(uuid4())))
"""


class Follower(Thread):
    """A client that reads for a moment, leaves, and comes back to any of the servers with its last id."""

    def __init__(
        self, servers: list[Server], query: str, headers: dict[str, str], wants: Callable[[Document], bool]
    ) -> None:
        super().__init__(daemon=True)
        self.servers, self.query, self.headers, self.wants = servers, query, headers, wants
        self.chance, self.enough = random.Random(query + str(headers)), Event()
        self.seen: list[int] = []
        self.last_id, self.visits, self.refused = "events:0", 0, 0

    def run(self) -> None:
        while not self.enough.is_set() and not self.refused:
            with suppress(httpx.ReadTimeout):
                self._visit(self.chance.choice(self.servers))
            self.visits += 1

    def _visit(self, server: Server) -> None:
        url, patience = f"{server.url}/api/events/stream/{self.query}", self.chance.uniform(0.2, 0.6)
        headers = self.headers | {"Last-Event-ID": self.last_id}
        until = time.monotonic() + self.chance.uniform(0.05, 0.8)
        with httpx.stream("GET", url, headers=headers, timeout=httpx.Timeout(20, read=patience)) as response:
            if response.status_code != 200:
                self.refused = response.status_code
                return
            stream = Stream(response)
            for message in stream.messages():
                self.last_id = stream.last_id
                if message["event"] == "message":
                    self.seen.append(int(self.last_id.rpartition(":")[2]))
                if time.monotonic() > until:
                    return


def the_log(server: Server) -> list[Document]:
    """Every event, by the feed."""
    events: list[Document] = []
    after: int | None = 0
    while after is not None:
        page = server.client.get(f"/api/events/?limit=1000&after={after}").json()
        events, after = events + page["results"], page["next"]
    return events


@pytest.mark.parametrize("seconds", [1, pytest.param(60, marks=[pytest.mark.nightly, pytest.mark.timeout(300)])])
def test_every_client_sees_the_log_filtered(deployment: Deployment, seconds: int) -> None:
    with ExitStack() as stack:
        servers = [stack.enter_context(deployment.server()) for _ in range(2)]
        (ann, anns), (bob, bobs) = as_customer(servers[0], 1), as_customer(servers[0], 2)
        staff = {"Authorization": f"Bearer {deployment.token}"}
        orders: dict[str, set[str]] = {ann: set(), bob: set()}

        def owned_by(customer: str) -> Callable[[Document], bool]:
            return lambda event: event["stream"] in {f"user-{customer}", *orders[customer]}

        followers = [
            *[Follower(servers, query, staff, lambda event: True) for query in ("", "?after=0")],
            Follower(servers, "?type=orders.OrderPaid", staff, lambda event: event["type"] == "orders.OrderPaid"),
            Follower(servers, "?category=user", staff, lambda event: event["stream"].startswith("user-")),
            Follower(servers, f"?stream=user-{ann}", staff, lambda event: event["stream"] == f"user-{ann}"),
            Follower(servers, "", anns, owned_by(ann)),
            Follower(servers, "?after=0", bobs, owned_by(bob)),
        ]
        script = WRITER.format(customers=[ann, bob], seconds=seconds)
        writer = stack.enter_context(deployment.process("manage.py", "shell", "-v0", "-c", script))
        for follower in followers:
            follower.start()
        number = 0
        while writer.poll() is None:
            servers[number % 2].register(number)
            number += 1
        assert writer.returncode == 0
        log = the_log(servers[0])
        for event in log:
            if event["type"] == "orders.OrderPlaced":
                orders[event["data"]["customer_id"]].add(event["stream"])
        expected = [[event["position"] for event in log if follower.wants(event)] for follower in followers]
        for follower, whole in zip(followers, expected, strict=True):
            eventually(lambda f=follower, w=whole: f.refused or (f.visits > 1 and len(f.seen) >= len(w)))  # type: ignore[misc]
        for follower in followers:
            follower.enough.set()
        for follower, whole in zip(followers, expected, strict=True):
            follower.join(timeout=10)
            assert (follower.refused, follower.seen) == (0, whole)
