"""Threads that run requests, and the queue in front of them, which has so many places and no more."""

import asyncio
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from queue import SimpleQueue
from typing import Any

from apps.eventlog.monitoring import instruments
from apps.eventlog.server.client import Client, Left


class Full(Exception):
    """The queue has no place for this request."""


@dataclass(slots=True, eq=False)
class Job:
    """What one request wants done, and the future on the event loop that waits for it."""

    work: Callable[[], Any]
    client: Client
    whose: str
    answer: asyncio.Future[Any]

    def run(self) -> None:
        try:
            done = partial(self.answer.set_result, self.work())
        except BaseException as error:
            done = partial(self.answer.set_exception, error)
        self.settle(done)

    def settle(self, done: Callable[[], None]) -> None:
        """Settle the answer on its loop, unless nobody waits for it any more."""

        def if_awaited() -> None:
            if not self.answer.done():
                done()

        with suppress(RuntimeError):  # the loop has ended, and the server with it
            self.answer.get_loop().call_soon_threadsafe(if_awaited)


class Pool:
    """Runs jobs in threads, in the order in which they came.

    One client can hold `threads` of the threads and half of the queue. There is one thread more, so a client whose
    requests all hang in a database does not stop the others.
    """

    def __init__(self, name: str, threads: int, places: int) -> None:
        self.name, self.threads, self.places = name, threads, places
        self.shown = 0  # requests that wait, as the metrics have it
        self.waiting: list[Job] = []
        self.running: Counter[str] = Counter()
        self.lock = threading.Lock()
        # The bells of the threads that have nothing to do. The last one is rung first: its database pages are at hand.
        self.idle: list[SimpleQueue[None]] = []
        for number in range(threads + 1):
            # A daemon, because a thread that hangs in a database must not keep a server that was told to stop.
            threading.Thread(target=self._work, name=f"{name}-{number}", daemon=True).start()

    async def run(self, work: Callable[[], Any], client: Client, whose: str) -> Any:
        """What `work` returns or raises, run in a thread. Raises `Full`, and `Left` if the client leaves before."""
        job = Job(work, client, whose, asyncio.get_running_loop().create_future())
        with self.lock:
            if not self._has_place(whose):
                self._drop_departed()
                if not self._has_place(whose):
                    raise Full
            self.waiting.append(job)
            if self.running[whose] >= self.threads or not self._wake():
                self._show()
        return await job.answer

    def _wake(self) -> bool:
        """Wake an idle thread, if there is one. A busy one looks for the next job by itself."""
        if self.idle:
            self.idle.pop().put(None)
            return True
        return False

    def _show(self) -> None:
        """Tell the metrics how many requests wait. One for which a thread was woken does not."""
        self.shown = len(self.waiting)
        instruments.waiting(self.name, self.shown)

    def _has_place(self, whose: str) -> bool:
        if len(self.waiting) < self.places // 2:
            return True
        return len(self.waiting) < self.places and sum(job.whose == whose for job in self.waiting) < self.places // 2

    def _drop_departed(self) -> None:
        departed = [job for job in self.waiting if job.client.left]
        self.waiting = [job for job in self.waiting if not job.client.left]
        for job in departed:
            job.settle(partial(job.answer.set_exception, Left()))

    def _work(self) -> None:
        whose: str | None = None
        bell: SimpleQueue[None] = SimpleQueue()
        while True:
            job = self._next(whose, bell)
            if job is None:
                whose = None
                bell.get()
                continue
            if job.client.left:
                job.settle(partial(job.answer.set_exception, Left()))
            else:
                job.run()
            whose = job.whose
            del job  # it holds a request, and this thread may now wait for a long time

    def _next(self, done: str | None, bell: SimpleQueue[None]) -> Job | None:
        """The first job whose client does not hold its share of the threads; `done`: whose job this thread has done.

        If there is none, the thread is idle until its bell rings.
        """
        with self.lock:
            if done is not None:
                self.running[done] -= 1
                if not self.running[done]:
                    del self.running[done]
            for number, job in enumerate(self.waiting):
                if self.running[job.whose] < self.threads:
                    self.running[job.whose] += 1
                    if done not in (None, job.whose):
                        self._wake()  # a job of that client, which had its share, can run now
                    self.waiting.pop(number)
                    if self.shown:
                        self._show()
                    return job
            self.idle.append(bell)
        return None
