"""The live stream: the tail of the log as Server-Sent Events, through django-eventstream's listeners.

Each process follows the log once, in a thread that lives while anybody listens, and hands new
events to its own listeners. What a listener missed it reads from the log by position, so it can
come back after any time, to any process, and nothing is lost or doubled.
"""

import asyncio
import logging
import threading
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor

import msgspec
from django.db import Error, close_old_connections, connections
from django_eventstream.event import Event
from django_eventstream.utils import make_id, sse_encode_event
from django_eventstream.views import Listener, get_listener_manager

from apps.eventlog import store
from apps.eventlog.events import RecordedEvent

logger = logging.getLogger(__name__)

CHANNEL = "events"
PAGE = 500
HEARTBEAT = 15.0  # seconds
POLL = (0.01, 0.25)  # seconds between two looks at the log: when busy, when idle

Wanted = Callable[[RecordedEvent], bool]

_past = ThreadPoolExecutor(max_workers=1, thread_name_prefix="stream-past")


async def stream(position: int, wanted: Wanted = lambda recorded: True) -> AsyncIterator[str]:
    """Server-Sent Events after a position, without end.

    The id of each is `events:<position>`; the opening one carries the id to resume from if the
    connection breaks before the first event. A heartbeat is a comment.
    """
    listener = Listener()
    listener.channels = {CHANNEL}
    listener.assign_loop()
    manager = get_listener_manager()
    manager.add_listener(listener)
    tail.wake()
    try:
        yield sse_encode_event("stream-open", "", event_id=make_id({CHANNEL: position}))
        behind = True
        while True:
            if behind:
                events = await _read(position)
                behind = len(events) == PAGE
            elif await _woken(listener):
                events, behind = _queued(listener, position)
            else:
                yield ": heartbeat\n\n"
                continue
            if events:
                position = events[-1].position
            if text := "".join(_encode(recorded) for recorded in events if wanted(recorded)):
                yield text
    finally:
        manager.remove_listener(listener)


def _queued(listener: Listener, position: int) -> tuple[list[RecordedEvent], bool]:
    """What the tail has handed over, and whether more came than the queue holds."""
    with get_listener_manager().lock:
        listener.aevent.clear()
        items = listener.channel_items.pop(CHANNEL, [])
        overflow, listener.overflow = listener.overflow, False
    return [item.data for item in items if item.id > position], overflow


async def _woken(listener: Listener) -> bool:
    try:
        await asyncio.wait_for(listener.aevent.wait(), HEARTBEAT)
    except TimeoutError:
        return False
    return True


async def _read(position: int) -> list[RecordedEvent]:
    def read() -> list[RecordedEvent]:
        close_old_connections()
        tail.started.wait(timeout=HEARTBEAT)  # else an event between this page and the tail's start is missed
        return list(store.read_all(after=position, limit=PAGE))

    return await asyncio.get_running_loop().run_in_executor(_past, read)


def _encode(recorded: RecordedEvent) -> str:
    data = msgspec.json.encode(recorded.document()).decode()
    return sse_encode_event("message", data, event_id=make_id({CHANNEL: recorded.position}))


class Tail:
    """Follows the log for all listeners of this process, in one thread that ends with the last of them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self.started = threading.Event()

    def wake(self) -> None:
        """See to it that the tail runs."""
        with self._lock:
            if self._thread is None:
                self.started.clear()
                self._thread = threading.Thread(target=self._follow, name="stream-tail", daemon=True)
                self._thread.start()

    def _follow(self) -> None:
        position: int | None = None
        pause = POLL[0]
        while self._wanted():
            try:
                before = position
                position = store.safe_position() if position is None else self._hand_out(position)
                self.started.set()
                pause = POLL[0] if position != before else min(POLL[1], 1.5 * pause)
            except Error as error:
                logger.warning("the live stream cannot read the log, trying again: %s", error)
                close_old_connections()
                pause = 1.0
            time.sleep(pause)
        connections[store.ALIAS].close()

    def _hand_out(self, position: int) -> int:
        for recorded in store.read_all(after=position):
            event = Event(CHANNEL, recorded.type, recorded, id=recorded.position)
            get_listener_manager().add_to_queues(CHANNEL, event)
            position = recorded.position
        return position

    def _wanted(self) -> bool:
        with self._lock:
            if get_listener_manager().listeners_by_channel.get(CHANNEL):
                return True
            self._thread = None
            return False


tail = Tail()
