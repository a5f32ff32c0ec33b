"""A courier in a thread of this process: beside the server in inline mode, and in `run_projectors`."""

import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

from django.conf import settings

from apps.eventlog.relay.webhooks import courier

GRACE = 2.0  # seconds for which the end of a server waits for deliveries on their way


class Background:
    """`start` it, and `stop` it, so that what is on its way is written down and nothing is sent twice."""

    def __init__(self) -> None:
        self._stop = threading.Event()
        # A daemon, so that a request that hangs does not keep the process alive.
        self._thread = threading.Thread(
            target=courier.run, args=[self._stop.is_set], name="webhooks courier", daemon=True
        )

    def start(self) -> "Background":
        self._thread.start()
        return self

    def stop(self, timeout: float | None = None) -> None:
        self._stop.set()
        self._thread.join(timeout)


def deliver_beside_the_server() -> None:
    """In inline mode, start a courier that ends when the server is told to end.

    uvicorn has set its handlers of signals before it imports the application, and ends the process by the signal itself
    after that. So this is the only moment at which the courier can finish.
    """
    if settings.PROJECTIONS != "inline":
        return
    background = Background().start()
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, _ending(background, signal.getsignal(number)))


def _ending(background: Background, former: Any) -> Callable[[int, FrameType | None], None]:
    """A handler that ends the courier, and then does what the former one does."""

    def handle(number: int, frame: FrameType | None) -> None:
        background.stop(GRACE)
        if callable(former):
            former(number, frame)
        else:
            signal.signal(number, former)
            signal.raise_signal(number)

    return handle
