"""The process of the tutorial, killed at random instants; run in a tree that has followed it (`test_tutorial.py`).

Every command of a process is sent twice on top of that. A bank captures the payments of every second order; the
customers of the others are reminded. A command that takes effect twice would be seen in a history.
"""

import json
import os
import random
import signal
import sys
import time
from collections import Counter
from datetime import timedelta
from uuid import UUID

from apps.eventlog import store
from apps.eventlog.delivery import claims, projecting, reacting
from apps.eventlog.delivery.dead_letters import open_dead_letters
from apps.eventlog.events import RecordedEvent
from apps.eventlog.processes import Process, on
from apps.eventlog.processing import running, sending, tables
from tests.journeys.kills import start
from tests.support.fulfilment import place_orders
from tests.support.redelivery import everything_twice


def bank() -> None:
    """Define a process that captures the payment of every second order."""
    from apps.payments.events import PaymentRequested
    from apps.payments.write.commands import CapturePayment

    class Bank(Process):
        @on(PaymentRequested)
        def requested(self, event: PaymentRequested, recorded: RecordedEvent) -> None:
            if self.id.int % 2:
                self.send(CapturePayment(self.id, "by itself"))


def work() -> None:
    """What a worker does, without its pauses."""
    while True:
        one_round()


def one_round() -> None:
    with everything_twice():
        running.run()
        for service in ("orders", "users", "payments"):
            projecting.catch_up(service)
            reacting.catch_up(service)


def one_round_takes() -> float:
    """How long a new process needs for a round, in seconds, on a machine that may be busy with other work."""
    began = time.monotonic()
    os.waitpid(start(one_round), 0)
    return time.monotonic() - began


def kill(times: int, seed: int) -> None:
    """Kill a number of workers while orders come in. Print the histories that orders have, and what is left over."""
    from apps.processes.order_payment import OrderPayment

    bank()
    claims.GRACE = sending.PAUSE = 0.02
    OrderPayment.patience = timedelta(milliseconds=20)
    chance, orders = random.Random(seed), []
    for number in range(times):
        if number % 10 == 0:
            takes = one_round_takes()
        orders += place_orders(2)
        child = start(work)
        # The instant, not a wait for anything. An event that ends the process ten times in a row would be set aside.
        time.sleep(chance.uniform(0, 3 * takes))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not done(orders):
        running.run()
    letters = [f"{letter.projector} {letter.error}" for letter in open_dead_letters(tables.ALIAS)]
    bought = Counter(" ".join(happened(order)) for order in orders if order.int % 2)
    reminded = Counter(" ".join(happened(order)) for order in orders if not order.int % 2)
    found = {"orders": len(orders), "bought": bought, "reminded": reminded, "set aside": letters}
    sys.stdout.write(json.dumps(found))


def happened(order: UUID) -> list[str]:
    """What happened to an order and to its payment, one after the other."""
    streams = [store.read_stream(f"{category}-{order}") for category in ("order", "payment")]
    return [type(recorded.event).__name__ for stream in streams for recorded in stream]


def done(orders: list[UUID]) -> bool:
    if tables.commands().objects.filter(status="waiting").exists() or tables.timers().objects.exists():
        return False
    last = {1: "OrderPaid", 0: "CustomerReminded"}
    return all(last[order.int % 2] in happened(order) for order in orders)
