"""A year of another system, as lines for an import: every type of event of users and orders, old versions, erasures."""

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from tests.support.exported import document

ENDS = datetime(2026, 1, 1, tzinfo=UTC)


class Year:
    """`lines()` are so many events over a year, the same at every call of one seed."""

    def __init__(self, events: int, seed: int = 1) -> None:
        self.events, self.chance = events, random.Random(seed)
        self.people: dict[str, str] = {}  # streams, and what was the last event of each: its state
        self.orders: dict[str, str] = {}
        self.versions: dict[str, int] = {}

    def lines(self) -> Iterator[dict[str, Any]]:
        for number in range(1, self.events + 1):
            stream, name, data, version = self._next(number)
            self.versions[stream] = self.versions.get(stream, 0) + 1
            service = "users" if stream.startswith("user") else "orders"
            yield document(
                position=number,
                event_id=str(UUID(int=self.chance.getrandbits(128), version=4)),
                stream=stream,
                stream_version=self.versions[stream],
                type=f"{service}.{name}",
                schema_version=version,
                data=data,
                metadata={"actor": "year", "weight": 1.50},
                recorded_at=(ENDS - timedelta(days=365) * (1 - number / self.events)).isoformat(),
            )

    def _next(self, number: int) -> tuple[str, str, dict[str, Any], int]:
        if len(self.people) < 5 or self.chance.random() < 0.1:
            stream = f"user-{UUID(int=self.chance.getrandbits(128), version=4)}"
            self.people[stream] = "active"
            return stream, "UserRegistered", {"email": f"p{number}@example.org", "name": f"Person {number}"}, 1
        if self.chance.random() < 0.3:
            return self._of_a_person(number)
        return self._of_an_order(number)

    def _of_a_person(self, number: int) -> tuple[str, str, dict[str, Any], int]:
        stream = self.chance.choice([each for each, state in self.people.items() if state != "erased"])
        if self.people[stream] == "inactive":
            self.people[stream] = "active"
            return stream, "UserReactivated", {}, 1
        name, data = self.chance.choice(
            [
                ("UserRenamed", {"name": f"Other {number}"}),
                ("UserEmailChanged", {"email": f"q{number}@example.net"}),
                ("UserDeactivated", {"reason": "left"}),
                ("UserErased", {"reason": "asked for"}),
            ]
        )
        self.people[stream] = {"UserDeactivated": "inactive", "UserErased": "erased"}.get(name, "active")
        return stream, name, data, 1

    def _of_an_order(self, number: int) -> tuple[str, str, dict[str, Any], int]:
        open_orders = [each for each, state in list(self.orders.items())[-60:] if state not in ("gone", "cancelled")]
        if not open_orders or self.chance.random() < 0.4:
            stream = f"order-{UUID(int=self.chance.getrandbits(128), version=4)}"
            self.orders[stream] = "placed"
            customer = self.chance.choice(list(self.people)).removeprefix("user-")
            line = {"sku": "A", "quantity": self.chance.randint(1, 9), "unit_price": f"{self.chance.randint(1, 99)}.50"}
            return stream, "OrderPlaced", {"customer_id": customer, "currency": "EUR", "lines": [line]}, 1
        stream = self.chance.choice(open_orders)
        if self.orders[stream] != "shipped" and self.chance.random() < 0.3:
            self.orders[stream] = "cancelled"
            new = self.chance.random() < 0.5
            return stream, "OrderCancelled", {"reason": "no"} | ({"cause": "requested"} if new else {}), 1 + new
        self.orders[stream], name, data = {
            "placed": ("paid", "OrderPaid", {"payment_reference": f"r-{number}"}),
            "paid": ("shipped", "OrderShipped", {"tracking_number": f"t-{number}"}),
            "shipped": ("gone", "OrderDelivered", {}),
        }[self.orders[stream]]
        return stream, name, data, 1
