"""When a delivery that failed is tried again, and for how long an endpoint that fails is left in peace."""

import random
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime

from django.conf import settings

TOLERATED = 3  # streams that fail in a row before an endpoint as a whole is left in peace
PEACE = (5.0, 300.0)  # seconds for which it is, at first and at most
LONGEST_WISH = 3600.0  # seconds; a `Retry-After` beyond that counts as so many
JITTER = 0.05  # of a pause, so that endpoints which failed together do not come back together


def next_attempt(first: datetime, now: datetime) -> datetime | None:
    """When a delivery that failed first at one instant, and now again, is sent again; None if it is set aside."""
    past = (now - first).total_seconds()
    later = next((seconds for seconds in settings.WEBHOOKS_RETRIES if seconds > past), None)
    return None if later is None else now + _about(later - past)


def peace_until(failures: int, now: datetime, wish: float = 0.0) -> datetime | None:
    """Until when nothing more is sent to an endpoint after so many failures in a row; None if it may go on at once.

    `wish` are the seconds for which the endpoint has asked.
    """
    least, most = PEACE
    pause = 0.0 if failures < TOLERATED else min(most, least * 2 ** min(20, failures - TOLERATED))
    pause = max(pause, min(wish, LONGEST_WISH))
    return now + _about(pause) if pause else None


def wish_of(header: str | None, now: datetime) -> float:
    """The seconds that a `Retry-After` asks for, a number or a date; 0 if there is none that can be read."""
    if header is None:
        return 0.0
    if header.isascii() and header.isdigit() and len(header) < 10:
        return float(header)
    try:
        return max(0.0, (parsedate_to_datetime(header) - now).total_seconds())
    except (ValueError, TypeError, OverflowError):
        return 0.0


def _about(seconds: float) -> timedelta:
    return timedelta(seconds=seconds * random.uniform(1, 1 + JITTER))  # noqa: S311
