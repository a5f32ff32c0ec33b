"""Counted tries that hold across processes: each try takes a slot in the shared cache."""

import time

from django.conf import settings
from django.core.cache import cache
from django.utils.crypto import salted_hmac
from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle, SimpleRateThrottle
from rest_framework.views import APIView


class Slots:
    """So many tries a period for one key, by the rate of `DEFAULT_THROTTLE_RATES[scope]`."""

    def __init__(self, scope: str, key: str) -> None:
        rate = settings.REST_FRAMEWORK["DEFAULT_THROTTLE_RATES"][scope]
        self.number, self.period = _parse(rate)
        self.window = int(time.time() // self.period)
        # A key has a person's name or address in it, which the cache need not know.
        self.prefix = f"{scope}:{salted_hmac(scope, key).hexdigest()}:{self.window}"
        self.taken: str | None = None

    def take(self) -> bool:
        """Take a slot; False where none is free. `cache.add` is atomic, so parallel tries cannot share one."""
        for number in range(self.number):
            slot = f"{self.prefix}:{number}"
            if cache.add(slot, 1, timeout=self.period):
                self.taken = slot
                return True
        return False

    def give_back(self) -> None:
        if self.taken:
            cache.delete(self.taken)

    def wait(self) -> float:
        """Seconds until slots are free again."""
        return (self.window + 1) * self.period - time.time()


class RegistrationThrottle(BaseThrottle):
    """Registrations from one address; staff are exempt."""

    slots: Slots

    def allow_request(self, request: Request, view: APIView) -> bool:
        if request.user and request.user.is_staff:
            return True
        self.slots = Slots("registration", self.get_ident(request))
        return self.slots.take()

    def wait(self) -> float:
        return self.slots.wait()


def _parse(rate: str) -> tuple[int, int]:
    throttle = SimpleRateThrottle.__new__(SimpleRateThrottle)
    number, period = throttle.parse_rate(rate)
    return number or 0, period or 1
