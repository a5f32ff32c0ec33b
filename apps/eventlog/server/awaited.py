"""Requests that wait for a position of the log. They wait on the event loop and hold no thread.

For each thing that is asked (the log, a service) one thread looks, on behalf of all who wait for it.
"""

import asyncio
import logging
import threading
import time
from collections import Counter
from contextlib import suppress
from queue import SimpleQueue

from django.conf import settings
from django.db import close_old_connections

from apps.eventlog.api.conditions import Awaited
from apps.eventlog.database.dead_connections import close_dead_connections

logger = logging.getLogger(__name__)

POLL = 0.005  # seconds between two looks
RETRY = 0.2  # seconds until a database that failed is asked again

Waiter = tuple[Awaited, asyncio.Future[None]]


class TooMany(Exception):
    """This login has as many requests waiting as it may."""


class Waiting:
    """All requests of this process that wait for a position."""

    def __init__(self) -> None:
        self.watchers: dict[str, Watcher] = {}
        self.logins: Counter[str] = Counter()

    async def until_shown(self, awaited: Awaited, seconds: float) -> None:
        """Come back when the position is shown, or after so many seconds. Raises `TooMany`."""
        if self.logins[awaited.login] >= settings.WAITS_PER_LOGIN:
            raise TooMany
        self.logins[awaited.login] += 1
        try:
            watcher = self.watchers.get(awaited.what) or self.watchers.setdefault(awaited.what, Watcher(awaited.what))
            await asyncio.wait({watcher.watch(awaited)}, timeout=seconds)
        finally:
            self.logins[awaited.login] -= 1
            if not self.logins[awaited.login]:
                del self.logins[awaited.login]


class Watcher:
    """A thread that looks how far one thing has come, while somebody waits for it."""

    def __init__(self, what: str) -> None:
        self.arriving: SimpleQueue[Waiter] = SimpleQueue()
        threading.Thread(target=self._work, name=f"position of {what}", daemon=True).start()

    def watch(self, awaited: Awaited) -> asyncio.Future[None]:
        """A future that is done when the position is shown; two seconds later it is no longer looked at."""
        shown = asyncio.get_running_loop().create_future()
        self.arriving.put((awaited, shown))
        return shown

    def _work(self) -> None:
        waiting: list[Waiter] = []
        while True:
            if not waiting:
                waiting = [self.arriving.get()]
                close_dead_connections()
                close_old_connections()
            while not self.arriving.empty():
                waiting.append(self.arriving.get())
            waiting = self._look(waiting)

    def _look(self, waiting: list[Waiter]) -> list[Waiter]:
        """Those who still wait, after one look for the lowest position, which is shown first."""
        waiting = [each for each in waiting if each[0].deadline > time.monotonic()]
        if not waiting:
            return []
        lowest = min(waiting, key=lambda each: each[0].position)
        try:
            shown = lowest[0].shows(lowest[0].position)
        except Exception as error:  # the request itself will say so, when its time is over
            logger.warning("cannot see how far %s is: %s", lowest[0].what, error)
            close_old_connections()
            time.sleep(RETRY)
            return waiting
        if not shown:
            time.sleep(POLL)
            return waiting
        _settle(lowest[1])
        return [each for each in waiting if each is not lowest]


def _settle(shown: asyncio.Future[None]) -> None:
    def if_awaited() -> None:
        if not shown.done():
            shown.set_result(None)

    with suppress(RuntimeError):  # the loop has ended, and the server with it
        shown.get_loop().call_soon_threadsafe(if_awaited)
