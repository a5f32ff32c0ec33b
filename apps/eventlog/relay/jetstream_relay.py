"""Follow the log and send each event to a stream of NATS JetStream, once and in order.

The relay begins after the event in the last message of the stream. Whenever something does not go as it should, it
reads that message again. So nothing has to be remembered or undone.
"""

import asyncio
import random
import threading
import time
from asyncio import Future
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, TypeVar

from django.db import Error, connections
from django.utils import timezone

from apps.eventlog import store
from apps.eventlog.events import Place
from apps.eventlog.relay import heartbeats
from apps.eventlog.relay.cloud_events import Message, message, source_of_log
from apps.eventlog.relay.jetstream import Away, CannotRelay, Last, OutOfStep, Target
from apps.eventlog.store import LogWentBack

PAGE = 1000  # events read at once
POLL = (0.005, 0.05)  # seconds between two looks at the end of the log: after an event, after a long idle time
RETRY = (0.2, 5.0)  # seconds until NATS or a database is tried again: first, and after many failures
GIVE_WAY = (0.1, 0.5)  # seconds for which a relay leaves the stream to another one; at random, so that one leads
HEARTBEAT, REPORT = 5.0, 60.0  # seconds between two heartbeats, and between two lines about the progress

Answer = TypeVar("Answer")


class Output(NamedTuple):
    """Where the relay's lines go: what it does, and what is wrong."""

    say: Callable[[str], None]
    complain: Callable[[str], None]


class Relay:
    """Events on their way to a target. `run` ends when `stop` is set, or with `once` at the end of the log."""

    def __init__(self, target: Target, output: Output, stop: threading.Event, *, once: bool) -> None:
        self.target, self.output, self.stop, self.once = target, output, stop, once
        self.place: Place | None = None  # None until the stream was asked
        self.sent = 0
        self._reader = ThreadPoolExecutor(1, "relay")  # all that a database is asked; its connections are its own
        self._safe = Place()  # how far the log can be read
        self._nothing: tuple[Place, Place] | None = None  # after one place, up to another, there is nothing to send
        self._beat_at = self._report_at = 0.0
        self._trouble, self._failures = "", 0

    async def run(self) -> None:
        """Raises `LogWentBack` and `CannotRelay`, and with `once` also what the relay would wait for otherwise."""
        try:
            while not self.stop.is_set():
                try:
                    await self._follow()
                except (Away, Error) as error:
                    if self.once:
                        raise
                    await self._wait_after(error)
                else:
                    return
        except (LogWentBack, CannotRelay) as error:
            await self._beat(str(error))
            raise
        finally:
            await self._in_thread(connections.close_all)
            self._reader.shutdown()

    async def _follow(self) -> None:
        """Connect, and send until there is nothing more to send or something goes wrong."""
        try:
            await self.target.connect()
            while not self.stop.is_set():
                try:
                    await self._send_after(await self.target.open())
                except OutOfStep:
                    await self._pause(random.uniform(*GIVE_WAY))  # noqa: S311
                else:
                    return
        finally:
            await self.target.close()

    async def _send_after(self, last: Last) -> None:
        """Send what follows the last message of the stream, page by page; each next page is read meanwhile."""
        sequence, place, pause = last.sequence, last.place, POLL[0]
        self._begin(place)
        reading = self._read_after(place)
        while not self.stop.is_set():
            if page := await reading:
                place, pause = page[-1].place, POLL[0]
                reading = self._read_after(place)
                await self.target.publish(page, sequence)
                sequence, self.sent = sequence + len(page), self.sent + len(page)
                await self._tell(place)
                continue
            await self._settle(place)
            if self.once:
                break
            await self._tell(place)
            await self._pause(pause)
            pause = min(POLL[1], 1.5 * pause)
            reading = self._read_after(place)
        await self._settle(place)
        await self._beat()

    def _begin(self, place: Place) -> None:
        if self.place is None or self._trouble:
            self.output.say(f"Relaying to {self.target}, after position {place.position}")
        self.place, self._trouble, self._failures = place, "", 0

    async def _settle(self, place: Place) -> None:
        """The stream has everything up to this place. If another relay has sent the same, leave the stream to it."""
        await self.target.settle()
        self.place = place
        if self.target.shared:
            raise OutOfStep("another relay sends the same events")

    def _read_after(self, place: Place) -> Future[list[Message]]:
        reading = self._in_thread(self._read, place)
        # If it is given up because of something else, what became of it does not matter.
        reading.add_done_callback(lambda done: done.cancelled() or done.exception())
        return reading

    def _read(self, place: Place) -> list[Message]:
        """The messages of the events after a place."""
        only = self.target.only
        self._safe = safe = store.safe_place()
        if (place, safe) == self._nothing:
            return []
        page = store.read_page(
            after=place, end=safe.position, limit=PAGE, encrypted=True, category=only["category"], types=only["types"]
        )
        self._nothing = None if page else (place, safe)
        source = source_of_log() if page else ""
        return [message(recorded, source) for recorded in page]

    async def _tell(self, place: Place) -> None:
        """Now and then, say how far the relay is."""
        now = time.monotonic()
        if now - self._beat_at >= HEARTBEAT:
            await self._settle(place)
            await self._beat()
        if now - self._report_at >= REPORT:
            if self._report_at:
                where = f"at position {place.position} of {self._safe.position}"
                self.output.say(f"{timezone.now():%Y-%m-%dT%H:%M:%SZ} {where}, {self.sent} sent")
            self._report_at = now

    async def _beat(self, error: str = "") -> None:
        self._beat_at = time.monotonic()
        await self._in_thread(heartbeats.beat, str(self.target), self.target.only, self.place, error)

    async def _wait_after(self, error: Exception) -> None:
        """Until the next try. Each kind of trouble is told once."""
        trouble = str(error).strip().partition("\n")[0]
        if trouble != self._trouble:
            self.output.complain(f"{self.target} gets no events, trying again: {trouble}")
        self._trouble, self._failures = trouble, self._failures + 1
        await self._in_thread(connections.close_all)  # a database that comes back needs new ones
        await self._beat(trouble)
        await self._pause(min(RETRY[1], RETRY[0] * 2**self._failures))

    async def _pause(self, seconds: float) -> None:
        """Wait, but not if the relay is to stop."""
        deadline = time.monotonic() + seconds
        while not self.stop.is_set() and (left := deadline - time.monotonic()) > 0:
            await asyncio.sleep(min(left, POLL[1]))

    def _in_thread(self, work: Callable[..., Answer], *arguments: object) -> Future[Answer]:
        return asyncio.get_running_loop().run_in_executor(self._reader, work, *arguments)
