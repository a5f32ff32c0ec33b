"""The tail of the log: one thread a process follows it for all streams, reads the past for them and looks after them.

It lives while anybody listens and holds the one database connection of all of them. Each event is
encoded and its owner found once. A database that fails is asked again until it answers, and
nothing is passed over.
"""

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from typing import NamedTuple

from django.db import connections
from django_eventstream.event import Event
from django_eventstream.views import get_listener_manager

from apps.eventlog import store
from apps.eventlog.encryption import personal_fields
from apps.eventlog.events import RecordedEvent
from apps.eventlog.live import logins
from apps.eventlog.live.messages import CHANNEL, Entry, Recent, Wanted
from apps.eventlog.live.stream_owners import Owners

logger = logging.getLogger(__name__)

PAGE = 500  # events read at once
POLL = (0.05, 0.1)  # seconds between two looks at the log: when busy, when idle; events in between go together
RETRY = 1.0  # seconds until a database that failed is asked again
CHECK = 2.0  # seconds between two looks at whether the listeners may still listen
HEARTBEAT = 15.0  # seconds


class Page(NamedTuple):
    """Events of the past, and the position up to which there are no others."""

    entries: list[Entry]
    reached: int


class Request(NamedTuple):
    """A client that asks for the past."""

    position: int
    wanted: Wanted
    page: asyncio.Future[Page]

    def answer(self, page: Page) -> None:
        def settle() -> None:
            if not self.page.done():  # the client may have left
                self.page.set_result(page)

        self.page.get_loop().call_soon_threadsafe(settle)


class Tail:
    """`recent` is what streams send; before the first look at the log, and while nobody listens, it is None.

    With `ending` set, every stream is ended.
    """

    def __init__(self) -> None:
        self.recent: Recent | None = None
        self.ending = False
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._checker: threading.Thread | None = None
        self._requests: SimpleQueue[Request] = SimpleQueue()
        self._owners = Owners()
        self._position = 0
        self._pause = POLL[0]
        self._check_at = self._beat_at = 0.0

    def wake(self) -> None:
        """See to it that the tail runs; the caller's listener is registered by now."""
        with self._lock:
            if self._thread is None:
                now = time.monotonic()
                self._check_at, self._beat_at = now + CHECK, now + HEARTBEAT
                self._thread = threading.Thread(target=self._follow, name="stream-tail", daemon=True)
                self._thread.start()

    async def past(self, position: int, wanted: Wanted) -> Page:
        """Events after a position, from the log."""
        page: asyncio.Future[Page] = asyncio.get_running_loop().create_future()
        self._requests.put(Request(position, wanted, page))
        return await page

    def _follow(self) -> None:
        while not self._over():
            self._look_after()
            if not (_outlived(self._take) and _outlived(self._serve)):
                time.sleep(RETRY)
        connections.close_all()

    def _over(self) -> bool:
        """With the last listener the thread ends and forgets what it knew: the next one looks at the log anew."""
        with self._lock:
            if _tickets():
                return False
            self._thread = self.recent = None
            return True

    def _look_after(self) -> None:
        """End streams whose ticket no longer holds, or all of them with the server; let the others hear of us."""
        now = time.monotonic()
        if self.ending:
            _end(_tickets())
        if now >= self._beat_at:
            self._beat_at = now + HEARTBEAT
            self._signal("heartbeat")
        if now >= self._check_at and not (self._checker and self._checker.is_alive()):
            self._check_at = now + CHECK
            # Apart from the tail: neither database, hanging, holds up what the other is asked.
            self._checker = threading.Thread(target=_outlived, args=[_check], name="stream-tickets", daemon=True)
            self._checker.start()

    def _take(self) -> None:
        """Hand new events to the listeners."""
        end = store.safe_position()
        if self.recent is None:
            self._position, self.recent = end, Recent(end)
            return
        self._pause = min(POLL[1], 1.5 * self._pause)
        if end <= self._position:
            return
        events = store.read_page(after=self._position, end=end, limit=PAGE)
        reached = events[-1].position if len(events) == PAGE else end
        if any(personal_fields.erases(recorded) for recorded in events):
            self.recent = Recent(reached)  # what it kept may tell of who was erased; the log no longer does
        else:
            self.recent = self.recent.extended(self._entries(events))
        self._position = reached  # last: whatever failed before is taken again
        self._pause = POLL[0]
        if events:
            self._signal("events")

    def _serve(self) -> None:
        """Answer one request for the past, or wait for one until it is time to look at the log again."""
        try:
            request = self._requests.get(timeout=self._pause)
        except Empty:
            return
        try:
            request.answer(self._past(request.position, request.wanted))
        except Exception:
            if not request.page.get_loop().is_closed():
                self._requests.put(request)
            raise

    def _past(self, position: int, wanted: Wanted) -> Page:
        types = None if wanted.type is None else [wanted.type]
        events = store.read_page(
            after=position, end=self._position, limit=PAGE, category=wanted.category, types=types, stream=wanted.stream
        )
        reached = events[-1].position if len(events) == PAGE else max(position, self._position)
        return Page([entry for entry in self._entries(events) if wanted.takes(entry)], reached)

    def _entries(self, events: Sequence[RecordedEvent]) -> list[Entry]:
        owners = self._owners.of(events)
        return [Entry.of(recorded, owners[recorded.stream]) for recorded in events]

    def _signal(self, type: str) -> None:
        get_listener_manager().add_to_queues(CHANNEL, Event(CHANNEL, type, {}, id=self._position))


def _outlived(step: Callable[[], None]) -> bool:
    """Whatever goes wrong, the streams of this process go on: False after a step that failed."""
    try:
        step()
    except Exception as error:
        logger.warning("the live stream meets an error and tries again: %r", error)
        connections.close_all()
        return False
    return True


def _check() -> None:
    """End the streams whose ticket no longer holds."""
    try:
        held = _tickets()
        _end(held - logins.valid(held))
    finally:
        connections.close_all()


def _tickets() -> set[logins.Ticket]:
    """What the streams that are open were opened with."""
    manager = get_listener_manager()
    with manager.lock:
        return {listener.user_id for listener in manager.listeners_by_channel.get(CHANNEL, ())}


def _end(gone: set[logins.Ticket]) -> None:
    for ticket in gone:
        get_listener_manager().kick(ticket, CHANNEL)


tail = Tail()
