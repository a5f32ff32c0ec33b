"""Replays in child processes, killed at random instants; run inside a deployment by `test_replay_killed.py`."""

import json
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
from apps.eventlog.replay.rebuild import rebuild
from apps.eventlog.replay.rebuild_lock import AlreadyRunning
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
    """Kill so many replays at random instants; prints for each which rows were there then, and after the next replay.

    The rows are those from before (`old`), those of a whole replay (`new`), or each table as it was before or after
    its switch (`between`). Anything else is `torn`, which nobody should see.
    """
    chance, clean, seen = random.Random(seed), folded(), []
    takes = timed(replay)
    while len(seen) < times:
        old = damage()
        pid = start(partial(replay, workers=1 + len(seen) % 2))
        time.sleep(chance.uniform(0, takes))  # the instant, not a wait for anything
        os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
        found = projected()
        takes = timed(replay)  # each time anew, because the machine may be busy with other work
        if os.WIFSIGNALED(status):  # else it was done before
            seen.append((compare(found, old, clean), compare(projected(), old, clean)))
    sys.stdout.write(json.dumps(seen))


def timed(work: Callable[[], object]) -> float:
    """How long it takes, in seconds."""
    began = time.monotonic()
    work()
    return time.monotonic() - began


def compare(found: dict[str, Any], old: dict[str, Any], new: dict[str, Any]) -> str:
    """Which rows these are, by table."""
    if any(found[table] not in (old[table], new[table]) for table in found):
        return "torn"
    return "old" if found == old else "new" if found == new else "between"
