#!/usr/bin/env python
"""Fill an empty log with believable users and orders of the last three weeks. Every run makes the same data.

Events of the past enter the log as those of another log do: by `import_events`. What happens today is a command.
"""

import io
import os
import random
import sys
import tempfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID, uuid5

import django
import msgspec

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
os.environ["PROJECTIONS"] = "inline"  # an order needs its customer's row, and there may be no worker yet
django.setup()

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.management import call_command

from apps.eventlog import store
from apps.eventlog.aggregates import Aggregate
from apps.eventlog.commands import derived_id
from apps.eventlog.dispatch import dispatch
from apps.eventlog.snapshots import load
from apps.orders.events import OrderLine
from apps.orders.write.aggregates import Order
from apps.users.write import logins
from apps.users.write.aggregates import User
from apps.users.write.commands import DeactivateUser

NAMESPACE = UUID("5a6b0c52-6c0e-4f0e-9d3e-0d1f3c1c7a10")
NAMES = [
    *["Ada Okafor", "Bruno Keller", "Chiara Lindqvist", "Dmitri Haas", "Esra Moreau", "Farid Nowak"],
    *["Greta Silva", "Hiro Tanaka", "Ines Petrov", "Jonas Achebe", "Kalina Duarte", "Lars Mbeki"],
]
GOODS = {
    "TEA-GREEN-100": ("Green tea", "6.40"),
    "TEA-ROOIBOS-100": ("Rooibos", "5.20"),
    "CUP-STONE": ("Stoneware cup", "14.00"),
    "POT-IRON-08": ("Iron pot", "48.50"),
    "SIEVE-STEEL": ("Tea sieve", "9.90"),
    "TRAY-ASH": ("Ash tray table", "32.00"),
}
CURRENCIES = {"EUR": 2, "USD": 2, "JPY": 0}
ORDERS = 48
PASSWORD = "tea and biscuits"


def user_id(number: int) -> UUID:
    return uuid5(NAMESPACE, f"user {number}")


def email(number: int) -> str:
    return f"{NAMES[number].split()[0].lower()}@tea.example"


def price(text: str, currency: str) -> Decimal:
    amount = Decimal(text) * (160 if currency == "JPY" else 1)
    return amount.quantize(Decimal(1).scaleb(-CURRENCIES[currency]))


class Step(NamedTuple):
    """Something that happened: how long ago, by which command of whom, and what it does to the aggregate."""

    ago: timedelta
    command: str
    actor: str
    do: Callable[[Any], None]


Life = tuple[Aggregate, list[Step]]


def lives_of_users() -> Iterator[Life]:
    """All came three weeks ago. Some have changed since: last week Ines was away."""
    for number, name in enumerate(NAMES):
        came = timedelta(days=21, minutes=-37 * number)
        yield (
            User(user_id(number)),
            [
                step(came, "RegisterUser", user_id(number), User.register, email(number), name),
                *changes(number),
            ],
        )


def changes(number: int) -> list[Step]:
    staff, them, days = "admin", user_id(number), timedelta(days=1)
    found = {
        "Chiara": [step(9.3 * days, "RenameUser", them, User.rename, "Chiara Lindqvist-Berg")],
        "Esra": [step(5.1 * days, "ChangeEmail", them, User.change_email, "esra.moreau@tea.example")],
        "Ines": [
            step(10.6 * days, "DeactivateUser", staff, User.deactivate, "asked for a pause"),
            step(2.2 * days, "ReactivateUser", staff, User.reactivate),
        ],
    }
    return found.get(NAMES[number].split()[0], [])


def lives_of_orders() -> Iterator[Life]:
    """Placed over the three weeks, each as far as it may have come. The last customer has not paid the newest two."""
    chance = random.Random(7)
    for number in range(ORDERS):
        ago = timedelta(days=20 * (1 - number / ORDERS), minutes=chance.randrange(600))
        unpaid = number >= ORDERS - 2
        customer = len(NAMES) - 1 if unpaid else chance.randrange(len(NAMES) - 1)
        if NAMES[customer] == "Ines Petrov" and timedelta(days=2.2) < ago < timedelta(days=13):
            customer = 0  # while Ines is away, Ada orders
        yield Order(uuid5(NAMESPACE, f"order {number}")), life_of_order(number, customer, ago, unpaid, chance)


def life_of_order(number: int, customer: int, ago: timedelta, unpaid: bool, chance: random.Random) -> list[Step]:
    them, currency = user_id(customer), chance.choice(["EUR", "EUR", "EUR", "USD", "JPY"])
    skus = chance.sample(sorted(GOODS), chance.randint(1, 4))
    lines = tuple(OrderLine(sku, chance.randint(1, 6), price(GOODS[sku][1], currency)) for sku in skus)
    old = ago > timedelta(days=12)  # two weeks without a payment would have cancelled it
    count = 1 if unpaid else chance.randint(2 if old else 1, 4)
    coming = [
        ("PlaceOrder", them, Order.place, (them, currency, lines)),
        ("PayOrder", them, Order.pay, (f"PAY-{number:04}",)),
        ("ShipOrder", "admin", Order.ship, (f"TRACK-{number:06}",)),
        ("DeliverOrder", "admin", Order.deliver, ()),
    ][:count]
    if count <= 2 and not unpaid and chance.random() < 0.25:
        coming.append(("CancelOrder", them, Order.cancel, (chance.choice(["ordered twice", "too late", "wrong pot"]),)))
    steps = []
    for command, actor, method, values in coming:
        steps.append(step(ago, command, actor, method, *values))
        ago = ago * chance.uniform(0.75, 0.95)
    return steps


def step(ago: timedelta, command: str, actor: object, method: Callable[..., None], *values: Any) -> Step:
    return Step(ago, command, str(actor), lambda aggregate: method(aggregate, *values))


def past(now: datetime) -> list[dict[str, Any]]:
    """The events of all lives, in the order in which they happened, as lines of an export."""
    events = [
        event for aggregate, steps in (*lives_of_users(), *lives_of_orders()) for event in told(aggregate, steps, now)
    ]
    events.sort(key=lambda event: event["recorded_at"])
    return [{"position": position, **event} for position, event in enumerate(events, 1)]


def told(aggregate: Aggregate, steps: list[Step], now: datetime) -> Iterator[dict[str, Any]]:
    """The events of an aggregate, which has decided each of them itself."""
    for version, (ago, command, actor, do) in enumerate(steps, 1):
        do(aggregate)
        [event], aggregate.pending_events = aggregate.pending_events, []
        at = now - ago
        time = UUID(int=int(at.timestamp() * 1000) << 80)
        id = str(derived_id(time, aggregate.stream, command, "command"))
        yield {
            "event_id": derived_id(time, aggregate.stream, command, "event"),
            "stream": aggregate.stream,
            "stream_version": version,
            "type": event.type,
            "schema_version": event.schema_version,
            "data": event.payload(),
            "metadata": {"actor": actor, "command": command, "causation_id": id, "correlation_id": id},
            "recorded_at": at,
        }


def load_past() -> None:
    """All of it in one transaction, so an interrupted run has left nothing."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "past.jsonl")
        file.write_bytes(b"".join(msgspec.json.encode(line) + b"\n" for line in past(datetime.now(UTC))))
        call_command("import_events", str(file), no_progress=True, stdout=io.StringIO())


def main() -> None:
    if not settings.DEBUG:
        print("Demo data: left out, because DEBUG is off")
        return
    if settings.LEFT_OUT:
        print(f"Demo data: left out, because SERVE leaves out {', '.join(settings.LEFT_OUT)}")
        return
    first, last = user_id(0), user_id(len(NAMES) - 1)
    if load(User, last).version > 1:
        print("Demo data: there already")
        return
    if store.head() and not load(User, first).version:
        print("Demo data: left out, the log has other events")
        return
    if not store.head():
        load_past()
    if not get_user_model().objects.filter(username=str(first)).exists():
        with logins.opening(first, PASSWORD if settings.DEMO_LOGIN else None):
            pass
    dispatch(DeactivateUser(last, "moved away"))  # today, so that the reactor cancels the unpaid orders
    print(f"Demo data: {len(NAMES)} users, {ORDERS} orders, over three weeks")
    if settings.DEMO_LOGIN:
        print(f"Customer login: {email(0)} / {PASSWORD}")


if __name__ == "__main__":
    main()
