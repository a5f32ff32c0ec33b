"""A connection that does not wait for ever for its client, and whose memory is bounded.

uvicorn has no deadline for a head, a body or a client that takes nothing, and its parser keeps a head of any size. And
a connection can be cut only here: to close it waits until the client has taken the rest.
"""

import math
import resource
from asyncio import TimerHandle, Transport
from typing import Any, ClassVar

from django.conf import settings
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from apps.eventlog.server.client import MOST_READ

PACE = 1024  # bytes a second that a client must send or take at least, once CLIENT_PATIENCE is over
AROUND = 64 * 1024  # bytes of a head, and of what lies around the chunks of a body
UNSENT = 32 * 1024 * 1024  # bytes of answers that all clients together have not taken yet
QUIET = min(2000, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2)  # connections without a whole request
SLOW = QUIET // 2  # connections that have not taken their answer yet


class Connection(HttpToolsProtocol):
    """uvicorn's connection, which cuts off a client that is too slow.

    Within CLIENT_PATIENCE seconds a request must be there as a whole, or must come at a `PACE`; and an answer must be
    taken, at the same pace. If too many connections have no whole request, or have not taken their answer, the one that
    has been so for the longest time is cut off, so that there is room for the next.
    """

    # In the order in which they became so.
    quiet: ClassVar[dict["Connection", None]] = {}
    slow: ClassVar[dict["Connection", int]] = {}
    open: ClassVar[set["Connection"]] = set()
    draining: ClassVar[bool] = False

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.received = self.of_body = 0  # bytes of the request that is being received
        self.unsent = math.inf  # bytes that the client had to take when this was last looked at
        self.next_waits = False
        self.coming: TimerHandle | None = None
        self.taking: TimerHandle | None = None

    @classmethod
    def close_each_after_its_answer(cls) -> None:
        """From now on each answer says that its connection ends with it."""
        cls.draining = True
        for connection in cls.open:
            if connection.cycle is not None:
                connection.cycle.keep_alive = False

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.open.add(self)
        self._expect_a_request()
        self._expect_it_soon()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.quiet.pop(self, None)
        self.slow.pop(self, None)
        self.open.discard(self)
        for timer in (self.coming, self.taking, self.timeout_keep_alive_task):
            if timer is not None:
                timer.cancel()

    def data_received(self, data: bytes) -> None:
        self.received += len(data)
        super().data_received(data)
        if self.received - self.of_body > AROUND + self.of_body or self.of_body > 2 * MOST_READ:
            self.transport.abort()
        elif self.received and self.coming is None and self in self.quiet:
            self._expect_it_soon()

    def on_headers_complete(self) -> None:
        super().on_headers_complete()
        if self.draining and self.cycle is not None:
            self.cycle.keep_alive = False

    def on_body(self, body: bytes) -> None:
        self.of_body += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self.received = self.of_body = 0
        self.quiet.pop(self, None)
        if self.coming is not None:
            self.coming.cancel()
            self.coming = None

    def on_response_complete(self) -> None:
        if self.pipeline and self.flow.write_paused:
            self.next_waits = True  # else its answer would wait in memory beside this one
            return
        super().on_response_complete()
        if self.cycle.response_complete or self.cycle.more_body:  # else the next request is there already
            self._expect_a_request()
        if self.received and self.coming is None:
            self._expect_it_soon()
        if self.taking is None and self.transport.get_write_buffer_size():
            self._expect_it_to_take()

    def pause_writing(self) -> None:
        super().pause_writing()
        self.slow[self] = self.transport.get_write_buffer_size()
        while len(self.slow) > SLOW or sum(self.slow.values()) > UNSENT:
            self.slow.pop(oldest := next(iter(self.slow)))
            oldest.transport.abort()
        if self.taking is None:
            self._expect_it_to_take()

    def resume_writing(self) -> None:
        super().resume_writing()
        self.slow.pop(self, None)
        self.unsent = math.inf
        if self.next_waits:
            self.next_waits = False
            self.on_response_complete()

    def _expect_a_request(self) -> None:
        self.quiet[self] = None
        if len(self.quiet) > QUIET:
            self.quiet.pop(oldest := next(iter(self.quiet)))
            oldest.transport.abort()

    def _expect_it_soon(self) -> None:
        began, patience = self.loop.time(), settings.CLIENT_PATIENCE

        def look() -> None:
            if self.received < PACE * (self.loop.time() - began):
                self.transport.abort()
            else:
                self.coming = self.loop.call_later(patience, look)

        self.coming = self.loop.call_later(patience, look)

    def _expect_it_to_take(self) -> None:
        def look() -> None:
            left, least = self.transport.get_write_buffer_size(), PACE * settings.CLIENT_PATIENCE
            self.taking = None
            if left and left > self.unsent - least:
                self.transport.abort()
            elif left:
                self._expect_it_to_take()

        self.unsent = self.transport.get_write_buffer_size()
        self.taking = self.loop.call_later(settings.CLIENT_PATIENCE, look)


def guard_connections() -> None:
    """Make each of uvicorn's connections in this process a `Connection`.

    uvicorn is started by its own command line and imports the application last, when it has chosen the class of its
    connections. So whoever makes one of that class gets one of ours.
    """
    HttpToolsProtocol.__new__ = lambda *_, **__: object.__new__(Connection)  # type: ignore[method-assign,assignment]
