"""Clients that send commands over HTTP without rest, and note in a history what they sent and what they saw."""

import random
import threading
import time
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import count
from typing import Any
from uuid import UUID

import httpx

from apps.eventlog.events import DomainEvent
from apps.orders.events import OrderCancelled, OrderLine, OrderPaid, OrderPlaced, OrderShipped
from apps.users.events import UserDeactivated, UserRegistered, UserRenamed
from tests.support.checker import Answer, History, Query

STEPS = {"pay": OrderPaid, "ship": OrderShipped, "cancel": OrderCancelled, "rename": UserRenamed}
STEPS |= {"deactivate": UserDeactivated}
ANOTHER = dict.fromkeys(("name", "reason", "payment_reference", "tracking_number"), "another") | {"currency": "GBP"}


@dataclass
class Request:
    """One command, to be sent with its key until its result is known; `event` is what it asks for."""

    key: str
    path: str
    event: DomainEvent
    stream: str = ""
    expected_version: int | None = None
    due: float = 0.0  # not to be sent again before this instant

    def body(self) -> dict[str, Any]:
        fields = self.event.payload()
        fields.pop("cause", None)
        return fields

    def headers(self) -> dict[str, str]:
        seen = {} if self.expected_version is None else {"If-Match": f'"{self.expected_version}"'}
        return {"Idempotency-Key": self.key} | seen


@dataclass
class Load:
    """The clients' common knowledge. `broken` are answers that nobody should get, such as a 500."""

    url: str
    token: str
    history: History
    seed: int
    versions: dict[str, int] = field(default_factory=dict)  # of each stream, as far as anybody knows
    unsettled: deque[Request] = field(default_factory=deque)
    broken: list[str] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.numbers, self.stop = count(1), threading.Event()

    @contextmanager
    def running(self, clients: int = 4) -> Iterator[None]:
        threads = [threading.Thread(target=self._work, args=[index]) for index in range(clients)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self.stop.set()
            for thread in threads:
                thread.join()

    def settle(self, seconds: float) -> None:
        """Send again what has no known result, until all of it has one or the time is up."""
        deadline = time.monotonic() + seconds
        with self.client() as client:
            while self.unsettled and time.monotonic() < deadline:
                self.send(client, self.unsettled.popleft())

    def client(self) -> httpx.Client:
        return httpx.Client(base_url=self.url, headers={"Authorization": f"Bearer {self.token}"}, timeout=30)

    def _work(self, index: int) -> None:
        chance = random.Random(f"{self.seed} {index}")
        with self.client() as client:
            while not self.stop.is_set():
                retry = self.unsettled and chance.random() < 0.5
                try:
                    request = self.unsettled.popleft() if retry else self.invent(chance)
                except IndexError:  # another client was faster
                    continue
                if chance.random() < 0.05:
                    self.unsettled.append(request)  # so that another sends it too, at the same time or later
                answer = self.send(client, request)
                if answer and chance.random() < 0.3:
                    self.look(client, answer)
                if answer and chance.random() < 0.03:
                    self.reuse(client, request)

    def invent(self, chance: random.Random) -> Request:
        """The next command: something new, or a step of something that is there, which a rule may forbid."""
        number, known = next(self.numbers), list(self.versions)
        users = [stream for stream in known if stream.startswith("user-")]
        key, kind = f"{self.seed}-{number}", chance.random()
        if kind < 0.15 or not users:
            return Request(key, "/api/users/", UserRegistered(f"u{number}@example.org", f"User {number}"))
        if kind < 0.45:
            customer = UUID(chance.choice(users[-30:]).removeprefix("user-"))
            line = OrderLine(f"S-{number}", chance.randint(1, 9), Decimal("1.50"))
            return Request(key, "/api/orders/", OrderPlaced(customer, chance.choice(["EUR", "USD"]), (line,)))
        stream = chance.choice(known[-40:])  # few enough that clients meet
        category, _, id = stream.partition("-")
        steps = ["pay", "pay", "ship", "cancel"] if category == "order" else ["rename"] * 15 + ["deactivate"]
        step = chance.choice(steps)
        more = ("requested",) if step == "cancel" else ()
        expected = self.versions[stream] if chance.random() < 0.3 else None
        event = STEPS[step](f"{step} {number}", *more)  # type: ignore[arg-type, call-arg]
        return Request(key, f"/api/{category}s/{id}/{step}/", event, stream, expected)

    def send(self, client: httpx.Client, request: Request) -> Answer | None:
        """One attempt; what has no known result yet is left for another."""
        if (wait := request.due - time.monotonic()) > 0:
            self.unsettled.append(request)
            time.sleep(min(wait, 0.05))
            return None
        call = self.history.call(
            request.key, request.event, stream=request.stream, expected_version=request.expected_version
        )
        try:
            response = client.post(request.path, json=request.body(), headers=request.headers())
        except httpx.ConnectError:  # it never left
            call.end("fail")
            self._again(request, 0.2)
            time.sleep(0.1)
            return None
        except httpx.TransportError:
            self._again(request, 0.05)
            return None
        self.statuses[response.status_code] += 1
        if response.is_success:
            document, category = response.json(), request.path.split("/")[2].removesuffix("s")
            answer = f"{category}-{document['id']}", document["version"], document["position"]
            self.versions[answer[0]] = max(answer[1], self.versions.get(answer[0], 0))
            call.end("ok", answer)
            return answer
        if response.status_code == 503 or "still running" in response.text:
            self._again(request, float(response.headers["Retry-After"]))
        elif response.status_code < 500:
            call.end("fail")
        else:
            self.broken.append(f"{response.status_code} to {request.path}: {response.text[:200]}")
        return None

    def _again(self, request: Request, seconds: float) -> None:
        request.due = time.monotonic() + seconds
        self.unsettled.append(request)

    def look(self, client: httpx.Client, answer: Answer) -> None:
        """Read one's own write."""
        category, _, id = answer[0].partition("-")
        try:
            response = client.get(f"/api/{category}s/{id}/", headers={"Min-Event-Position": str(answer[2])})
        except httpx.TransportError:
            return
        if response.status_code in (200, 404):
            version = response.json()["version"] if response.is_success else 0
            self.history.queries.append(Query(answer[0], answer[2], version))
        elif response.status_code != 503:
            self.broken.append(f"{response.status_code} to {response.request.url}: {response.text[:200]}")

    def reuse(self, client: httpx.Client, request: Request) -> None:
        """A key that comes with another valid body is refused."""
        body = request.body()
        body |= {name: value for name, value in ANOTHER.items() if name in body}
        try:
            response = client.post(request.path, json=body, headers=request.headers())
        except httpx.TransportError:
            return
        if response.status_code not in (422, 503):
            self.broken.append(f"{response.status_code} to another body with the key of {request.path}")
