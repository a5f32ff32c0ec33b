"""Named points at which a crash test kills the process, as a power cut would, or stops it.

The points are:

    appended   a command's events are committed and nothing has followed them yet
    projected  rows and checkpoint are written and not committed yet
    processed  a process has taken events: state, timers, commands and checkpoint are written and not committed yet
    fired      timers have fired, and what followed is written and not committed yet
    sent       a command of a process has taken effect, and that is not noted yet
    switching  a rebuild has filled its tables and not switched to them yet
"""

import os
import signal

from django.conf import settings


def failpoint(name: str) -> None:
    """Die here by SIGKILL if the setting FAILPOINT says so; `name:SIGSTOP` stops here until SIGCONT."""
    wanted, _, act = settings.FAILPOINT.partition(":")
    if name == wanted:
        os.kill(os.getpid(), signal.Signals[act or "SIGKILL"])
