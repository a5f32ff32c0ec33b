#!/usr/bin/env python
"""Fill an empty log with believable users and orders, by commands. Every run makes the same data."""

import os
import random
import sys
from decimal import Decimal
from pathlib import Path
from uuid import UUID, uuid5

import django

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
os.environ["PROJECTIONS"] = "inline"  # an order needs its customer's row, and there may be no worker yet
django.setup()

from django.conf import settings

from apps.eventlog import store
from apps.eventlog.commands import Command
from apps.eventlog.dispatch import dispatch
from apps.eventlog.management.progress import progress_bar
from apps.eventlog.snapshots import load
from apps.orders.events import OrderLine
from apps.orders.write.aggregates import Order
from apps.orders.write.commands import CancelOrder, DeliverOrder, PayOrder, PlaceOrder, ShipOrder
from apps.users.write import logins
from apps.users.write.aggregates import User
from apps.users.write.commands import ChangeEmail, DeactivateUser, RegisterUser, RenameUser

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
STEPS = ["placed", "paid", "shipped", "delivered"]
PASSWORD = "tea and biscuits"


def user_id(number: int) -> UUID:
    return uuid5(NAMESPACE, f"user {number}")


def email(number: int) -> str:
    return f"{NAMES[number].split()[0].lower()}@tea.example"


def price(text: str, currency: str) -> Decimal:
    amount = Decimal(text) * (160 if currency == "JPY" else 1)
    return amount.quantize(Decimal(1).scaleb(-CURRENCIES[currency]))


def life_of_order(number: int, chance: random.Random) -> list[Command]:
    """The commands of one order, from its placing to a step chosen by chance."""
    id, customer = uuid5(NAMESPACE, f"order {number}"), user_id(chance.randrange(len(NAMES)))
    currency = chance.choice(["EUR", "EUR", "EUR", "USD", "JPY"])
    skus = chance.sample(sorted(GOODS), chance.randint(1, 4))
    lines = tuple(OrderLine(sku, chance.randint(1, 6), price(GOODS[sku][1], currency)) for sku in skus)
    count = chance.randint(1, len(STEPS))
    steps: list[Command] = [
        PlaceOrder(id, customer, currency, lines),
        PayOrder(id, f"PAY-{number:04}"),
        ShipOrder(id, f"TRACK-{number:06}"),
        DeliverOrder(id),
    ][:count]
    if count <= 2 and chance.random() < 0.25:
        steps.append(CancelOrder(id, chance.choice(["ordered twice", "too late", "found a nicer pot"])))
    return steps


def lives() -> list[tuple[type[User] | type[Order], UUID, list[Command]]]:
    """Each aggregate with its commands, in the order in which they are sent."""
    chance = random.Random(7)
    users = [(User, user_id(n), [RegisterUser(user_id(n), email(n), name)]) for n, name in enumerate(NAMES)]
    users[2][2].append(RenameUser(user_id(2), "Chiara Lindqvist-Berg"))
    users[4][2].append(ChangeEmail(user_id(4), "esra.moreau@tea.example"))
    orders = [(Order, uuid5(NAMESPACE, f"order {n}"), life_of_order(n, chance)) for n in range(48)]
    return [*users, *orders]


def send(commands: list[Command]) -> None:
    for command in commands:
        if isinstance(command, RegisterUser) and command.user_id == user_id(0):
            with logins.opening(command.user_id, PASSWORD if settings.DEMO_LOGIN else None):
                dispatch(command)
        else:
            dispatch(command)


def main() -> None:
    if not settings.DEBUG:
        print("Demo data: left out, because DEBUG is off")
        return
    # The version of an aggregate shows how many of its commands an interrupted run has sent.
    todo = [(kind, id, commands, load(kind, id).version) for kind, id, commands in lives()]
    last = user_id(len(NAMES) - 1)  # is deactivated at the end, so that the reactor cancels the unpaid orders
    if load(User, last).version > 1:
        print("Demo data: there already")
        return
    if store.head() and not todo[0][3]:
        print("Demo data: left out, the log has other events")
        return
    with progress_bar("Demo data", len(todo)) as advance:
        for _, _, commands, version in todo:
            send(commands[version:])
            advance(1)
    dispatch(DeactivateUser(last, "moved away"))
    print(f"Demo data: {len(NAMES)} users, {len(todo) - len(NAMES)} orders")
    if settings.DEMO_LOGIN:
        print(f"Customer login: {email(0)} / {PASSWORD}")


if __name__ == "__main__":
    main()
