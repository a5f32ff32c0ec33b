"""The thread of a server that follows the log in the background, with PROJECTIONS=inline.

A command has its own rows projected. But others append to the log too, timers come due without any command, and what a
killed process has left behind must not wait for the next command. With PROJECTIONS=worker, `run_projectors` does this.
"""

import atexit
import logging
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.db import connections

from apps.eventlog import projectors, store
from apps.eventlog.delivery import inline, projecting, reacting
from apps.eventlog.processing import running

logger = logging.getLogger(__name__)

REST = 0.05  # seconds between two looks, so that many commands are followed by one
PAUSE = 0.5  # seconds until the next look if no command of this process comes before
LOOK_ANYWAY = 1.0  # seconds; another process may have left events undone, and no new position shows that
PATIENCE = 5.0  # seconds for which a server that stops waits for the step that the thread is at


class Follower:
    """`start` begins the thread, and `stop` ends it after the step that it is at."""

    def __init__(self) -> None:
        self.stopped = threading.Event()
        self.thread = threading.Thread(target=self._follow, name="follower", daemon=True)
        self.seen, self.looked = -1, 0.0

    def start(self) -> None:
        self.thread.start()

    def stop(self) -> None:
        self.stopped.set()
        inline.appended.set()
        if self.thread is not threading.current_thread():
            self.thread.join(PATIENCE)

    def _follow(self) -> None:
        pause, failing = REST, False
        while not self.stopped.is_set():
            try:
                self.look()
                pause, failing = PAUSE, False
            except Exception as error:
                if not failing:  # once, and not at each try
                    logger.warning("the log cannot be followed, trying again: %s", error)
                pause, failing = 1.0, True
                connections.close_all()
            self.stopped.wait(REST)
            inline.appended.wait(pause)
            inline.appended.clear()
        connections.close_all()

    def look(self) -> None:
        """Project, react and run the processes, as far as there is anything to do."""
        stopped, safe, now = self.stopped.is_set, store.safe_position(), time.monotonic()
        if safe != self.seen or now - self.looked > LOOK_ANYWAY:
            for service in projectors.services():
                _catch_up(service, stopped)
            self.seen, self.looked = safe, now
        running.run(stopped)


def _catch_up(service: str, stopped: Callable[[], bool]) -> None:
    """Bring one service up to the log. A failure of its own does not hold the others up."""
    try:
        if projecting.behind(service):
            projecting.catch_up(service, stopped=stopped)
        reacting.catch_up(service, stopped)
    except Exception as error:
        logger.warning("%s cannot follow the log, trying again: %s", service, error)
        connections[service].close()


def follow() -> None:
    """Start the follower of this process, if commands have their events projected here. It stops with the process.

    A server that gets SIGTERM ends without the functions of `atexit`, so that signal stops the follower too.
    """
    if settings.PROJECTIONS != "inline":
        return
    follower = Follower()
    follower.start()
    atexit.register(follower.stop)
    if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, lambda number, _: _stop(follower, number))


def _stop(follower: Follower, number: int) -> Any:
    follower.stop()
    signal.signal(number, signal.SIG_DFL)
    signal.raise_signal(number)
