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
from types import FrameType

from django.conf import settings
from django.db import connections

from apps.eventlog import projectors, store
from apps.eventlog.database.lock_timeout import Locked
from apps.eventlog.delivery import inline, projecting, reacting
from apps.eventlog.processing import running
from apps.eventlog.server.complaints import Complaints

logger = logging.getLogger(__name__)

REST = 0.05  # seconds between two looks at least, so that many commands are followed by one
PAUSE = 0.5  # seconds until the next look if no command of this process comes before
LOOK_ANYWAY = 1.0  # seconds; another process may have left events undone, and no new position shows that
PATIENCE = 5.0  # seconds for which a server that stops waits for the step that the thread is at


class Follower:
    """`start` begins the thread, and `stop` ends it after the step that it is at."""

    def __init__(self) -> None:
        self.stopped = threading.Event()
        self.thread = threading.Thread(target=self._follow, name="follower", daemon=True)
        self.seen, self.looked, self.complaints = -1, 0.0, Complaints()

    def start(self) -> None:
        self.thread.start()

    def stop(self) -> None:
        self.stopped.set()
        inline.appended.set()
        if self.thread is not threading.current_thread():
            self.thread.join(PATIENCE)

    def _follow(self) -> None:
        while not self.stopped.is_set():
            began = time.monotonic()
            try:
                done = self.look()
                pause = PAUSE if done else 0.0
            except Exception as error:
                self.complaints.say("the log, or a process,", error)
                done, pause = True, 1.0
                connections.close_all()
            self.stopped.wait(_rest(time.monotonic() - began) if done else REST)
            inline.appended.wait(pause)
            inline.appended.clear()
        connections.close_all()

    def look(self) -> bool:
        """Project, react and run the processes, as far as there is anything to do; False if there is more to do."""
        stopped, safe, now = self.stopped.is_set, store.safe_position(), time.monotonic()
        if safe != self.seen or now - self.looked > LOOK_ANYWAY:
            done = [self._catch_up(service, running.turn_of(stopped)) for service in projectors.services()]
            self.seen, self.looked = safe if all(done) else -1, now
        return running.run(stopped) and self.seen == safe

    def _catch_up(self, service: str, late: Callable[[], bool]) -> bool:
        """Bring one service up to the log; False if it is late before that is done.

        What goes on there does not hold the others up: neither a long backlog, nor a rebuild that writes, nor a
        failure.
        """
        try:
            if projecting.behind(service):
                projecting.catch_up(service, stopped=late, lock_timeout=inline.LOCK_TIMEOUT)
            reacting.catch_up(service, late)
        except Locked:
            return True  # the next look comes soon enough
        except Exception as error:
            self.complaints.say(service, error)
            connections[service].close()
            return True
        return not late()


def _rest(look: float) -> float:
    """The rest after a look, both in seconds. Looks take a tenth of the time at most."""
    return min(PAUSE, max(REST, 9 * look))


def follow() -> None:
    """Start the follower of this process, if commands have their events projected here. It stops with the process.

    A server that gets SIGTERM may end without the functions of `atexit`. So that signal tells the follower to stop, and
    while the server lets its requests end, the follower ends its step.
    """
    if settings.PROJECTIONS != "inline":
        return
    if settings.LEFT_OUT:
        logger.info("SERVE leaves out %s: other processes must follow the log for them", ", ".join(settings.LEFT_OUT))
    follower = Follower()
    follower.start()
    atexit.register(follower.stop)
    if threading.current_thread() is threading.main_thread():
        _stop_at_sigterm(follower)


def _stop_at_sigterm(follower: Follower) -> None:
    """Before what the server itself does at that signal, or before the process ends by it."""
    before = signal.getsignal(signal.SIGTERM)

    def stop(number: int, frame: FrameType | None) -> None:
        follower.stopped.set()
        if callable(before):
            before(number, frame)
        elif before is signal.SIG_DFL:
            follower.stop()
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)

    signal.signal(signal.SIGTERM, stop)
