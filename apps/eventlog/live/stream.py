"""The live stream: the tail of the log as Server-Sent Events, through django-eventstream's listeners.

A stream holds no thread and no database connection: the tail (`tail.py`) wakes its listener, and it
sends what it has not sent yet, from the events that the tail keeps or, where it is further behind,
from the log. Its place is a position, so it can come back after any time, to any process, and nothing
is lost or doubled.
"""

import signal
import threading
from collections.abc import AsyncGenerator, Iterable, Iterator
from functools import cache
from types import FrameType
from typing import Any

from django_eventstream.utils import sse_encode_event
from django_eventstream.views import Listener, get_listener_manager

from apps.eventlog.live.logins import Ticket
from apps.eventlog.live.messages import CHANNEL, Entry, Wanted, id_of
from apps.eventlog.live.tail import tail

CHUNK = 32 * 1024  # bytes sent at once, about: what a slow client may keep waiting here


async def event_stream(position: int, wanted: Wanted, ticket: Ticket) -> AsyncGenerator[bytes]:
    """Server-Sent Events after a position, until the ticket is no longer valid.

    The id of each is `events:<position>`; the opening one carries the id to resume from if the
    connection breaks before the first event. A heartbeat is a comment, with the id of the place
    reached where other events than the client's have come since.
    """
    _end_with_the_server()
    listener = Listener()
    listener.channels, listener.user_id = {CHANNEL}, ticket
    listener.assign_loop()
    get_listener_manager().add_listener(listener)
    tail.wake()
    sent = position
    try:
        yield sse_encode_event("stream-open", "", event_id=id_of(position)).encode()
        while not listener.error:
            beat = _signals(listener)  # taken before the look at what is new, so that none in between is missed
            entries, position, behind = await _after(position, wanted)
            for chunk in _chunks(entry.text if wanted.owner is None else entry.own for entry in entries):
                yield chunk
            if entries:
                sent = entries[-1].position
            elif beat:
                yield _heartbeat(position if position > sent else None)
                sent = position
            if not behind:
                await listener.aevent.wait()
    finally:
        get_listener_manager().remove_listener(listener)


def open_streams(ticket: Ticket) -> int:
    """How many streams this login has open on this process."""
    manager = get_listener_manager()
    with manager.lock:
        return sum(each.user_id.login == ticket.login for each in manager.listeners_by_channel.get(CHANNEL, ()))


@cache
def _end_with_the_server() -> None:
    """From the first stream on: end the streams when the server is told to stop, so that it need not wait for them.

    The server has set its own signal handlers by then; they are called after ours.
    """
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, _ending(signal.getsignal(number)))


def _ending(server: Any) -> Any:
    def handle(number: int, frame: FrameType | None) -> None:
        tail.ending = True
        if callable(server):
            server(number, frame)
        elif server == signal.SIG_DFL:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)

    return handle


async def _after(position: int, wanted: Wanted) -> tuple[list[Entry], int, bool]:
    """The next events a client gets, the position reached, and whether there may be more already."""
    recent = tail.recent
    entries = recent.after(position) if recent else None
    if entries is None:
        page = await tail.past(position, wanted)
        return page.entries, page.reached, True
    reached = entries[-1].position if entries else position
    return [entry for entry in entries if wanted.takes(entry)], reached, False


def _signals(listener: Listener) -> bool:
    """Take what woke the listener; was a heartbeat among it?"""
    with get_listener_manager().lock:
        listener.aevent.clear()
        items = listener.channel_items.pop(CHANNEL, ())
    return any(item.type == "heartbeat" for item in items)


def _heartbeat(position: int | None) -> bytes:
    # An id without data sets the place to resume from and shows no event.
    place = "" if position is None else f"id: {id_of(position)}\n"
    return f": heartbeat\n{place}\n".encode()


def _chunks(texts: Iterable[bytes]) -> Iterator[bytes]:
    """The texts of events, many small ones at once."""
    held: list[bytes] = []
    size = 0
    for text in texts:
        held.append(text)
        size += len(text)
        if size > CHUNK:
            yield b"".join(held)
            held, size = [], 0
    if held:
        yield b"".join(held)
