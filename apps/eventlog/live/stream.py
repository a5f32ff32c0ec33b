"""The live stream: the log as Server-Sent Events, to be resumed from any position.

A stream occupies no thread and no database connection. The tail of the log (`tail.py`) wakes its listener, and the
stream sends what it has not sent yet: from the tail's buffer, or from the log if it is further behind. It remembers a
place of the log and nothing else, so a client can come back after any time, to any process, and gets each event once.
"""

import signal
import threading
from collections.abc import AsyncGenerator, Iterable, Iterator
from functools import cache
from types import FrameType
from typing import Any

from django_eventstream.utils import sse_encode_event

from apps.eventlog.events import Place
from apps.eventlog.live import listeners
from apps.eventlog.live.credentials import Credential
from apps.eventlog.live.listeners import StreamListener
from apps.eventlog.live.messages import Filter, message_id
from apps.eventlog.live.slots import Slot
from apps.eventlog.live.tail import Page, tail

COME_AGAIN = b"retry: 1000\n\n"  # in milliseconds; to a browser this is no message
CHUNK = 32 * 1024  # bytes sent at once, about; as much may wait in memory for a slow client


async def event_stream(
    place: Place, filter: Filter, credential: Credential, *, went_back: bool = False, slot: Slot | None = None
) -> AsyncGenerator[bytes]:
    """Server-Sent Events after a place, until the credential is no longer valid. At the end it gives the slot back.

    If the server ends, so does the stream, and tells the client to come again in a second.

    The first message, `stream-open`, has the id to resume from if the connection breaks before the first event. A
    heartbeat is a comment. It comes with an id if events have been passed over meanwhile that the filter does not
    accept. If the log went back, a message `reset` tells the client which of its events are still in the log; with
    `went_back`, that is known from the start.
    """
    _end_with_the_server()
    listener = listeners.add(credential)
    tail.start()
    try:
        yield sse_encode_event("stream-open", "", event_id=message_id(place)).encode()
        async for chunk in _following(listener, place, filter, went_back=went_back):
            yield chunk
        if tail.ending:
            yield COME_AGAIN
    finally:
        listeners.remove(listener)
        if slot:
            slot.give_back()


async def _following(
    listener: StreamListener, place: Place, filter: Filter, *, went_back: bool
) -> AsyncGenerator[bytes]:
    """What a client gets after it knows a place, until its listener is told to end."""
    if went_back:
        yield _reset(place)
    known = place  # the client has an id from which it resumes here
    while not listener.error:
        heartbeat = listeners.clear(listener)  # before the look for new events, or one in between would be missed
        (messages, place, went_back), more = await _after(place, filter)
        if went_back:
            yield _reset(place)
            known = place
        for chunk in _chunks(message.text if filter.owner is None else message.own for message in messages):
            yield chunk
        if messages:
            known = messages[-1].place
        elif heartbeat:
            yield _heartbeat(place if place != known else None)
            known = place
        if not more:
            await listener.aevent.wait()


@cache
def _end_with_the_server() -> None:
    """From the first stream on, end all streams when the server is told to stop: it would wait for them.

    By then the server has set its own signal handlers. They are called after this one.
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


async def _after(place: Place, filter: Filter) -> tuple[Page, bool]:
    """The next messages for a client, and whether there may already be more."""
    buffer = tail.buffer
    messages = buffer.after(place) if buffer else None
    if messages is None:
        return await tail.read(place, filter), True
    reached = messages[-1].place if messages else place
    return Page([message for message in messages if filter.accepts(message)], reached), False


def _reset(place: Place) -> bytes:
    data = f'{{"position": {place.position}}}'
    return sse_encode_event("reset", data, event_id=message_id(place)).encode()


def _heartbeat(place: Place | None) -> bytes:
    # A client that gets an id without data resumes from there later, and shows no event.
    id = "" if place is None else f"id: {message_id(place)}\n"
    return f": heartbeat\n{id}\n".encode()


def _chunks(messages: Iterable[bytes]) -> Iterator[bytes]:
    """The texts of the messages, many small ones in one chunk."""
    texts: list[bytes] = []
    size = 0
    for text in messages:
        texts.append(text)
        size += len(text)
        if size > CHUNK:
            yield b"".join(texts)
            texts, size = [], 0
    if texts:
        yield b"".join(texts)
