"""A server that is told to stop says so first, and goes on serving for a moment.

Meanwhile a balancer that asks `/readyz` sends new requests to other servers. Each answer closes its connection and says
so, and live streams end. So a balancer finds no connection closed on which it has just sent a request. What is asked of
the server in that time is done as before.
"""

import ctypes
import multiprocessing
import os
import signal
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import cache
from types import FrameType
from typing import Any

from django.conf import settings

from apps.eventlog.live.tail import tail
from apps.eventlog.server.connection import Connection
from apps.eventlog.server.probes import readiness

SETTLE = 0.3  # seconds in which what has arrived is taken, after nothing more can arrive
# A filter of Linux for a listening socket (classic BPF, see socket(7)): it drops packets that open a connection.
ATTACH_FILTER, SYN, FLAGS = 26, 0x02, 13
NO_OPENING = ((0x30, 0, 0, FLAGS), (0x45, 0, 1, SYN), (0x06, 0, 0, 0), (0x06, 0, 0, 0xFFFF))


class Draining:
    """The handler of SIGTERM. What the server itself would do at that signal, it does `seconds` later.

    More of that signal changes nothing: a supervisor may send it to all processes of a server, which send it to each
    other too. SIGINT stops the server at once.
    """

    def __init__(self, seconds: float, stop: Callable[[int, FrameType | None], Any]) -> None:
        self.seconds, self.stop = seconds, stop
        self.begun = self.over = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if self.over:
            self.stop(number, frame)
        elif not self.begun:
            self.begun = True
            readiness.stopping = tail.ending = True
            Connection.close_each_after_its_answer()
            timer = threading.Timer(self.seconds, self._end)
            timer.daemon = True  # a server that stops for another reason need not wait for it
            timer.start()

    def _end(self) -> None:
        # The processes of `--workers` share a socket; then another one takes what arrives.
        if multiprocessing.parent_process() is None:
            refuse_openings(_listening(self.stop))
            time.sleep(SETTLE)
        self.over = True
        os.kill(os.getpid(), signal.SIGTERM)  # handlers run in the main thread, where the server expects them


def refuse_openings(sockets: Iterable[Any]) -> None:
    """Let nobody connect any more, without a word: who tries sends the same again, and then is refused.

    To close a socket at once cuts connections off that wait to be taken, with the requests on them. A system that knows
    no such filter does that.
    """
    code = b"".join(struct.pack("HBBI", *each) for each in NO_OPENING)
    kept = ctypes.create_string_buffer(code)
    program = struct.pack("HL", len(NO_OPENING), ctypes.addressof(kept))
    for each in sockets:
        with suppress(OSError), socket.socket(fileno=os.dup(each.fileno())) as listening:
            listening.setsockopt(socket.SOL_SOCKET, ATTACH_FILTER, program)


def _listening(stop: Any) -> list[Any]:
    """The sockets on which uvicorn listens, whose handler `stop` is."""
    servers = getattr(getattr(stop, "__self__", None), "servers", ())
    return [each for server in servers for each in server.sockets]


@cache
def drain_at_sigterm() -> None:
    """From the first request on, handle SIGTERM by a `Draining` of DRAIN_SECONDS.

    By then the server has set its own handler, after it has loaded the application. One that handles signals in another
    way stops in that way.
    """
    if not settings.DRAIN_SECONDS or threading.current_thread() is not threading.main_thread():
        return
    before = signal.getsignal(signal.SIGTERM)
    if callable(before):
        signal.signal(signal.SIGTERM, Draining(settings.DRAIN_SECONDS, before))
