"""A varied history, made by commands of users and orders, the same at every call of one seed.

`make_history()` sends them; `forget_rows()` lets the rows and checkpoints of every service know nothing of it.
For the events of another service, see `make_samples`.
"""

import random
from decimal import Decimal
from uuid import UUID

from apps.eventlog.aggregates import RuleBroken
from apps.eventlog.delivery import checkpoints
from apps.eventlog.dispatch import dispatch
from apps.eventlog.projectors import Projector, services
from apps.eventlog.repository import NotFound
from apps.orders.events import OrderLine
from apps.orders.write.commands import CancelOrder, DeliverOrder, PayOrder, PlaceOrder, ShipOrder
from apps.users.write.commands import ChangeEmail, DeactivateUser, ReactivateUser, RegisterUser, RenameUser


def make_history(users: int = 5, commands: int = 60, seed: int = 1) -> None:
    """Send so many commands of all kinds; those that a rule forbids are part of the game."""
    chance = random.Random(seed)
    people = [UUID(int=chance.getrandbits(128)) for _ in range(users)]
    orders: list[UUID] = []
    for number, person in enumerate(people):
        dispatch(RegisterUser(person, f"user{number}-{seed}@example.org", f"User {number}"))
    for number in range(commands):
        person = chance.choice(people)
        if not orders or chance.random() < 0.35:
            orders.append(UUID(int=chance.getrandbits(128)))
            price = Decimal(chance.randrange(1, 10_000)).scaleb(-2)
            lines = tuple(OrderLine(f"A-{n}", chance.randint(1, 9), price) for n in range(chance.randint(1, 3)))
            command = PlaceOrder(orders[-1], person, chance.choice(["EUR", "USD"]), lines)
        else:
            order = chance.choice(orders)
            command = chance.choice(
                [
                    PayOrder(order, f"p-{number}"),
                    PayOrder(order, f"p-{number}"),
                    ShipOrder(order, f"t-{number}"),
                    DeliverOrder(order),
                    CancelOrder(order, "changed my mind"),
                    RenameUser(person, f"Name {number}"),
                    ChangeEmail(person, f"user{number}-{seed}@example.net"),
                    DeactivateUser(person, "left"),
                    *[ReactivateUser(person)] * 4,
                ]
            )
        try:
            dispatch(command)
        except (RuleBroken, NotFound):  # of an order that was refused
            continue


def forget_rows() -> None:
    """As if nothing had been projected yet."""
    for service in services():
        checkpoints.checkpoint_model(service).objects.update(position=0)
    for kind in Projector.registry.values():
        for model in kind.models:
            model._default_manager.all().delete()
