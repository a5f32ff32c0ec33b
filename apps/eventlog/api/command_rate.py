"""How many commands a login may send: there is a limit to what one client can add to the log."""

import threading
from collections import OrderedDict
from time import monotonic
from typing import Any

from django.conf import settings
from rest_framework.exceptions import Throttled

REMEMBERED = 10_000  # logins


class Bucket:
    """So many commands a minute for each login, in this process. What a login does not use is saved up for a minute.

    The counts are not in the shared cache, as those of failed logins are: a look there takes as long as a command.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.levels: OrderedDict[int, tuple[float, float]] = OrderedDict()  # by login: what was left, and when

    def take(self, login: int, a_minute: int) -> None:
        """Take one of what is left; raises Throttled."""
        now = monotonic()
        with self.lock:
            left, since = self.levels.pop(login, (a_minute, now))
            left = min(a_minute, left + (now - since) * a_minute / 60)
            self.levels[login] = (left - 1 if left >= 1 else left, now)
            if len(self.levels) > REMEMBERED:
                self.levels.popitem(last=False)
        if left < 1:
            raise Throttled((1 - left) * 60 / a_minute, "too many commands of this login")


commands = Bucket()


def count_command(login: Any) -> None:
    """Count a command that a login sends. Raises Throttled. Commands without a login are limited by who admits them."""
    if login.is_authenticated:
        most = settings.STAFF_COMMANDS_PER_MINUTE if login.is_staff else settings.COMMANDS_PER_MINUTE
        commands.take(login.pk, most)
