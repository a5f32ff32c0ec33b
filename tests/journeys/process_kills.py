"""Processes killed at random instants; run inside a deployment by `test_processes.py`.

A child runs what a worker runs. The process of the tests pays, ships and delivers every order, beside the one that
cancels unpaid orders.
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

from apps.eventlog.delivery import claims, projecting, reacting
from apps.eventlog.delivery.dead_letters import open_dead_letters
from apps.eventlog.processes import Process
from apps.eventlog.processing import running, sending, tables
from tests.journeys.kills import start
from tests.support.fulfilment import Fulfilment, history, place_orders


def work() -> None:
    """What a worker does, without its pauses."""
    while True:
        running.run()
        for service in ("orders", "users"):
            projecting.catch_up(service)
            reacting.catch_up(service)


def kill(times: int, seed: int) -> None:
    """Kill so many of them while orders come in; prints how many orders have which history, and what is set aside."""
    claims.GRACE = sending.PAUSE = 0.02
    chance, orders = random.Random(seed), []
    Process.registry["Fulfilment"], Fulfilment.travels = Fulfilment, timedelta(milliseconds=20)
    for _ in range(times):
        orders += place_orders(2)
        child = start(work)
        time.sleep(chance.uniform(0, 0.25))  # the instant, not a wait for anything
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not done(orders):
        running.run()
    histories = Counter(" ".join(history(order)) for order in orders)
    letters = [f"{letter.projector} {letter.error}" for letter in open_dead_letters(tables.ALIAS)]
    sent = Counter(tables.commands().objects.values_list("command", "status"))
    paid = Counter(
        row["paid"] for row in tables.instances().objects.filter(process="Fulfilment").values_list("state", flat=True)
    )
    found = {
        "orders": histories,
        "set aside": letters,
        "sent": [[*key, n] for key, n in sorted(sent.items())],
        "paid": paid,
    }
    sys.stdout.write(json.dumps(found))


def done(orders: list[UUID]) -> bool:
    waiting = tables.commands().objects.filter(status="waiting").exists() or tables.timers().objects.exists()
    return not waiting and all(len(history(order)) == 4 for order in orders)
