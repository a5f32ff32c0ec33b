"""The tail of the log: one thread a process that follows the log for all its streams.

The thread lives while a stream is open and has the only database connection that they need. In turn, it looks after
the streams, puts new events into the buffer from which they send, and reads older events for streams that are further
behind. Each new event is encoded once, and its owner is found once. If the database fails, the thread tries again
until it succeeds, and passes over nothing. If the log went back, the thread begins anew at its end.
"""

import asyncio
import logging
import threading
import time
from bisect import bisect_left
from collections.abc import Callable, Sequence
from operator import attrgetter
from queue import Empty, SimpleQueue
from typing import NamedTuple

from django.db import connections

from apps.eventlog import store
from apps.eventlog.encryption import personal_fields
from apps.eventlog.events import Place, RecordedEvent
from apps.eventlog.live import listeners
from apps.eventlog.live.messages import Buffer, Filter, Message, message_id
from apps.eventlog.live.stream_owners import Owners
from apps.eventlog.log import places
from apps.eventlog.log.queries import Conditions
from apps.eventlog.store import LogWentBack

logger = logging.getLogger(__name__)

PAGE = 500  # events read at once
POLL = (0.05, 0.1)  # seconds between two looks at the log, if busy and if idle; events in between are sent together
RETRY = 1.0  # seconds until a database that failed is asked again
CHECK = 2.0  # seconds between two checks of the credentials
HEARTBEAT = 15.0  # seconds


class Page(NamedTuple):
    """Messages read from the log, and the place up to which the filter accepts no others.

    `went_back`: the place that was asked for is not in the log. `reached` is the last one before it that surely is.
    """

    messages: list[Message]
    reached: Place
    went_back: bool = False


class Request(NamedTuple):
    """A stream asks for the messages after a place."""

    place: Place
    filter: Filter
    page: asyncio.Future[Page]

    def answer(self, page: Page) -> None:
        def settle() -> None:
            if not self.page.done():  # the client may have left
                self.page.set_result(page)

        self.page.get_loop().call_soon_threadsafe(settle)


class Tail:
    """`buffer` has the newest messages; None while no stream is open, and until the first look at the log.

    Set `ending` to end every stream.
    """

    def __init__(self) -> None:
        self.buffer: Buffer | None = None
        self.ending = False
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._checker: threading.Thread | None = None
        self._requests: SimpleQueue[Request] = SimpleQueue()
        self._owners = Owners()
        self._place = Place()
        self._earlier: list[Place] = []  # some places before the buffer, oldest first
        self._gone: dict[str, Place] = {}
        self._pause = POLL[0]
        self._check_at = self._beat_at = 0.0

    def start(self) -> None:
        """Start the thread if it does not run. Register a listener before: a thread without listeners ends."""
        with self._lock:
            if self._thread is None:
                now = time.monotonic()
                self._check_at, self._beat_at = now + CHECK, now + HEARTBEAT
                self._thread = threading.Thread(target=self._follow, name="stream-tail", daemon=True)
                self._thread.start()

    async def read(self, place: Place, filter: Filter) -> Page:
        """Messages after a place, read from the log."""
        page: asyncio.Future[Page] = asyncio.get_running_loop().create_future()
        self._requests.put(Request(place, filter, page))
        return await page

    def shared(self, id: str) -> Place:
        """The last place that the log shares with a client whose message of this id is gone; the beginning if unknown.

        This process knows it if it has sent, or could have sent, that message itself.
        """
        return self._gone.get(id, Place())

    def _follow(self) -> None:
        while not self._unused():
            self._look_after_streams()
            if not (_succeeds(self._take_new_events) and _succeeds(self._answer_a_request)):
                time.sleep(RETRY)
        connections.close_all()

    def _unused(self) -> bool:
        """If no stream is open, forget the buffer and let the thread end. The next one begins anew."""
        with self._lock:
            if listeners.open_credentials():
                return False
            self._thread = self.buffer = None
            return True

    def _look_after_streams(self) -> None:
        """Send heartbeats, check the credentials, and end all streams if the server ends."""
        now = time.monotonic()
        if self.ending:
            listeners.end(listeners.open_credentials())
        if now >= self._beat_at:
            self._beat_at = now + HEARTBEAT
            listeners.wake_all(heartbeat=True)
        if now >= self._check_at and not (self._checker and self._checker.is_alive()):
            self._check_at = now + CHECK
            # In a thread of its own: credentials are in another database, and if one hangs, the other's work goes on.
            check = [listeners.end_invalid]
            self._checker = threading.Thread(target=_succeeds, args=check, name="stream-credentials", daemon=True)
            self._checker.start()

    def _take_new_events(self) -> None:
        """Put new events into the buffer and wake the listeners."""
        end = store.safe_place()
        if self.buffer is None:
            self._begin(end)
            return
        self._pause = min(POLL[1], 1.5 * self._pause)
        if end == self._place:
            return
        try:
            events = store.read_page(after=self._place, end=end.position, limit=PAGE)
        except LogWentBack as error:
            self._begin_anew(self.buffer, end, error)
            return
        if end.position <= self._place.position:
            return  # a writer's mark holds the safe position back for a moment
        reached = events[-1].place if len(events) == PAGE else end
        if any(personal_fields.erases(recorded) for recorded in events):
            self.buffer = Buffer(reached)  # the old messages may show what is erased now; the log no longer does
        else:
            self.buffer = self.buffer.extended(self._messages(events))
        self._place = reached  # last, so that the events are read again if anything before fails
        self._pause = POLL[0]
        if events:
            listeners.wake_all()

    def _begin(self, end: Place) -> None:
        self._earlier = places.earlier_places(end.position)
        self._place, self.buffer = end, Buffer(end)

    def _begin_anew(self, buffer: Buffer, end: Place, error: LogWentBack) -> None:
        """Follow the log from where it ends now. Each stream finds that its place is gone, and asks where to go on."""
        logger.error("the live stream meets another log, and resets its clients: %s", error)
        known = [*self._earlier, buffer.start, *(message.place for message in buffer.messages)]
        lost = bisect_left(known, 1, key=lambda place: int(not places.has(place)))
        shared = known[lost - 1] if lost else Place()
        self._gone |= dict.fromkeys(map(message_id, known[lost:]), shared)
        self._owners = Owners()
        self._begin(end)
        listeners.wake_all()

    def _answer_a_request(self) -> None:
        """Answer one request, or wait for one until it is time to look at the log again."""
        try:
            request = self._requests.get(timeout=self._pause)
        except Empty:
            return
        try:
            request.answer(self._read(request.place, request.filter))
        except LogWentBack:
            request.answer(Page([], self.shared(message_id(request.place)), went_back=True))
        except Exception:
            if not request.page.get_loop().is_closed():
                self._requests.put(request)
            raise

    def _read(self, place: Place, filter: Filter) -> Page:
        types = None if filter.type is None else [filter.type]
        end = self._place
        conditions: Conditions = {"category": filter.category, "types": types, "stream": filter.stream}
        events = store.read_page(after=place, end=end.position, limit=PAGE, **conditions)
        reached = events[-1].place if len(events) == PAGE else max(place, end, key=attrgetter("position"))
        return Page([message for message in self._messages(events) if filter.accepts(message)], reached)

    def _messages(self, events: Sequence[RecordedEvent]) -> list[Message]:
        owners = self._owners.of(events)
        return [Message.of(recorded, owners[recorded.stream]) for recorded in events]


def _succeeds(step: Callable[[], None]) -> bool:
    """Do a step; False if it fails. The streams of this process go on, whatever the error is."""
    try:
        step()
    except Exception as error:
        logger.warning("the live stream meets an error and tries again: %r", error)
        connections.close_all()
        return False
    return True


tail = Tail()
