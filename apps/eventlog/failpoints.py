"""Named points at which a crash test kills the process, as a power cut would."""

import os
import signal

from django.conf import settings


def failpoint(name: str) -> None:
    """Die here by SIGKILL if the setting FAILPOINT says so."""
    if name == settings.FAILPOINT:
        os.kill(os.getpid(), signal.SIGKILL)
