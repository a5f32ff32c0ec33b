"""Replays in child processes, killed at random instants; run inside a deployment by `test_replay_killed.py`."""

import os
import random
import signal
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from django.db import connections

from apps.eventlog.projectors import Projector
from apps.eventlog.replay.rebuild import AlreadyRunning, rebuild
from apps.orders.models import Customer, Order, OrderSummary
from apps.users.models import User
from tests.support.fold import folded, projected


def start(work: Callable[[], object]) -> int:
    """Do it in a forked process, which has its own connections; returns its pid."""
    connections.close_all()
    pid = os.fork()
    if not pid:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    return pid


def replay(workers: int = 1) -> None:
    """Rebuild everything, as soon as the server has noticed that a killed one is gone."""
    for kind in Projector.registry.values():
        deadline = time.monotonic() + 10
        while True:
            try:
                rebuild(kind, batch=5, workers=workers)
                break
            except AlreadyRunning:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.01)


def damage() -> dict[str, Any]:
    """Old rows that a replay will mend, so that old and new can be told apart."""
    User.objects.update(name="old")
    Customer.objects.update(name="old")
    Order.objects.update(currency="OLD")
    OrderSummary.objects.update(orders=12345)
    return projected()


def kill(times: int, seed: int) -> None:
    """Tells how many replays were killed, and how many of those left some tables new and some old."""
    chance, clean, killed, between = random.Random(seed), folded(), 0, 0
    began = time.monotonic()
    replay()
    takes = time.monotonic() - began
    while killed < times:
        old = damage()
        pid = start(partial(replay, workers=1 + killed % 2))
        time.sleep(chance.uniform(0, takes))
        os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
        killed += os.WIFSIGNALED(status)
        found = projected()
        for table, rows in found.items():
            assert rows in (old[table], clean[table]), f"{table} is neither old nor new"
        between += any(found[table] == old[table] for table in found) and found != old
        replay()
        assert projected() == clean == folded()
    sys.stdout.write(f"{killed} {between}\n")
