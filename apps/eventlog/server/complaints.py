"""What a process cannot follow at the moment is said once a minute, although it tries again all the time."""

import logging
import time

logger = logging.getLogger(__name__)

SAY_AGAIN = 60.0  # seconds after which a complaint is logged again that has not changed


class Complaints:
    """What a worker, or the follower of a server, cannot follow at the moment."""

    def __init__(self) -> None:
        self.last: dict[str, tuple[str, float]] = {}  # the last error of each, and when it was logged

    def say(self, what: str, error: Exception) -> None:
        """Log an error, unless the last one about the same was the same and is not a minute old."""
        before, at = self.last.get(what, ("", 0.0))
        if str(error) != before or time.monotonic() - at > SAY_AGAIN:
            logger.error("%s cannot be followed, trying again: %s", what, error)
            self.last[what] = str(error), time.monotonic()
