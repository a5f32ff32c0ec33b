"""Named points at which a crash test kills the process, as a power cut would, or stops it."""

import os
import signal

from django.conf import settings


def failpoint(name: str) -> None:
    """Die here by SIGKILL if the setting FAILPOINT says so; `name:SIGSTOP` stops here until SIGCONT."""
    wanted, _, act = settings.FAILPOINT.partition(":")
    if name == wanted:
        os.kill(os.getpid(), signal.Signals[act or "SIGKILL"])
