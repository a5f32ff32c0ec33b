"""A server that is told to stop says so first, and goes on serving for a moment.

Meanwhile whoever asks `/readyz` sends new requests elsewhere, each answer closes its connection and says so, and live
streams end. So a balancer finds no connection closed on which it has just sent a request. What is asked of the server
in that time is done as before.
"""

import os
import signal
import threading
from collections.abc import Callable
from functools import cache
from types import FrameType
from typing import Any

from django.conf import settings

from apps.eventlog.live.tail import tail
from apps.eventlog.server.connection import Connection
from apps.eventlog.server.probes import readiness


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
        self.over = True
        os.kill(os.getpid(), signal.SIGTERM)  # handlers run in the main thread, where the server expects them


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
