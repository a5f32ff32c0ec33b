"""`Replay.fold_streams` by several processes that share the streams."""

import multiprocessing
import os
import signal
import sys
from concurrent.futures import ProcessPoolExecutor, as_completed
from threading import Thread
from typing import Any

import django
from django.db import connections

from apps.eventlog import store
from apps.eventlog.events import Place
from apps.eventlog.models import DeadLetter
from apps.eventlog.projectors import Projector, RowProjector
from apps.eventlog.replay.fold_streams import Replay
from apps.eventlog.replay.shadow_table import ShadowTable

BATCHES_AT_ONCE = 2  # that a process takes; with few of them, all processes end at about the same time


def fold_in_processes(replay: Replay, until: Place, workers: int) -> None:
    """Fold the streams of a replay up to a place, in `workers` processes, each one range of streams after another.

    On Linux the processes are forked, which is quick. A fork copies no other thread, so call this from a command, not
    from a thread of a server.
    """
    projector = replay.projector
    if not isinstance(projector, RowProjector):
        return
    ranges = list(store.stream_ranges(projector.category, BATCHES_AT_ONCE * replay.batch))
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
    _close_sqlite()
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_begin) as pool:
        try:
            tasks = [pool.submit(_fold_range, projector.name, until, replay.batch, *range_) for range_ in ranges]
            for task in as_completed(tasks):
                done, dead_letters = task.result()
                replay.dead_letters.new += dead_letters
                replay.dead_letters.streams |= {dead_letter.stream for dead_letter in dead_letters}
                replay.advance(done)
        except BaseException:  # Ctrl-C too
            pool.shutdown(cancel_futures=True)
            raise
    replay.place = until


def _close_sqlite() -> None:
    """SQLite remembers in memory which locks its process has; a forked child would take those for its own."""
    for connection in connections.all(initialized_only=True):
        if connection.vendor == "sqlite":
            connection.close()


_connections_of_parent: list[Any] = []
"""What a fork has copied. It is kept: closing a connection here, even as garbage, would end it for the parent."""


def _begin() -> None:
    """Prepare a process. The parent alone answers Ctrl-C, and if it is killed, no process may go on writing."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    Thread(target=_end_with_parent, daemon=True).start()
    django.setup()
    for connection in connections.all(initialized_only=True):
        _connections_of_parent.append(connection.connection)
        connection.connection = None


def _end_with_parent() -> None:
    if parent := multiprocessing.parent_process():
        parent.join()
        os._exit(1)


def _fold_range(name: str, until: Place, batch: int, first: str, end: str) -> tuple[int, list[DeadLetter]]:
    """Fold one range of streams into the shadow tables that the parent has made."""
    kind = Projector.registry[name]
    part = Replay(kind({live: ShadowTable(live).model for live in kind.models}), batch)
    part.fold_streams(until, first, end, ahead=False)
    return part.done, part.dead_letters.new
