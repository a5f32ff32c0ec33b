"""Limits of tries that all processes share: each try takes a slot in the cache."""

import time

from django.conf import settings
from django.core.cache import cache
from django.http import HttpRequest
from django.utils.crypto import salted_hmac
from rest_framework.exceptions import Throttled
from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle, SimpleRateThrottle


class Slots:
    """The tries of one key in one period. `DEFAULT_THROTTLE_RATES[scope]` says how many there may be."""

    def __init__(self, scope: str, key: str) -> None:
        rate = settings.REST_FRAMEWORK["DEFAULT_THROTTLE_RATES"][scope]
        self.number, self.period = _parse(rate)
        self.window = int(time.time() // self.period)
        # A key contains a person's name or address, which must not be readable in the cache.
        self.prefix = f"{scope}:{salted_hmac(scope, key).hexdigest()}:{self.window}"
        self.taken: str | None = None

    def take(self) -> None:
        """Take a slot. `cache.add` is atomic, so parallel tries cannot share one. Raises Throttled if none is left."""
        for number in range(self.number):
            slot = f"{self.prefix}:{number}"
            if cache.add(slot, 1, timeout=self.period):
                self.taken = slot
                return
        raise Throttled((self.window + 1) * self.period - time.time())

    def give_back(self) -> None:
        if self.taken:
            cache.delete(self.taken)


def address_of(request: HttpRequest | Request) -> str:
    """The address of the client. NUM_PROXIES says how many proxies are trusted to report it."""
    return BaseThrottle().get_ident(request)  # type: ignore[arg-type]  # it reads META, which both have


def _parse(rate: str) -> tuple[int, int]:
    throttle = SimpleRateThrottle.__new__(SimpleRateThrottle)
    number, period = throttle.parse_rate(rate)
    return number or 0, period or 1
