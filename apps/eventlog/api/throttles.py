"""Limits of tries that all processes share: each try takes a slot in the cache."""

import re
import time
from ipaddress import IPv6Address, IPv6Network, ip_address

from django.conf import settings
from django.core.cache import cache
from django.http import HttpRequest
from django.utils.crypto import salted_hmac
from rest_framework.exceptions import Throttled
from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle, SimpleRateThrottle

PAGE = 200  # slots to look up in one query
WITH_PORT = re.compile(r"\[(.+)\](?::\d+)?|(\d+\.\d+\.\d+\.\d+):\d+")


class Slots:
    """The tries of one key in one period. `DEFAULT_THROTTLE_RATES[scope]` says how many there may be."""

    def __init__(self, scope: str, key: str) -> None:
        rate = settings.REST_FRAMEWORK["DEFAULT_THROTTLE_RATES"][scope]
        self.number, self.period = _parse(rate)
        self.window = int(time.time() // self.period)
        # A key contains a person's name or address, which must not be readable in the cache.
        self.prefix = f"{scope}:{salted_hmac(scope, key).hexdigest()}:{self.window}"
        self.taken: str | None = None
        self.count = 0  # slots that were taken at the last try, with its own

    def take(self) -> None:
        """Take a slot. `cache.add` is atomic, so parallel tries cannot share one. Raises Throttled if none is left."""
        self.count = 0
        for first in range(0, self.number, PAGE):
            slots = [f"{self.prefix}:{number}" for number in range(first, min(first + PAGE, self.number))]
            taken = cache.get_many(slots)
            self.count += len(taken)
            for slot in slots:
                if slot not in taken and cache.add(slot, 1, timeout=self.period):
                    self.taken, self.count = slot, self.count + 1
                    return
        raise Throttled((self.window + 1) * self.period - time.time())

    def give_back(self) -> None:
        if self.taken:
            cache.delete(self.taken)


def address_of(request: HttpRequest | Request) -> str:
    """The IP address of the client. NUM_PROXIES says how many proxies are trusted to report it.

    `unknown` if there is no such address, as behind a Unix socket.
    """
    text = BaseThrottle().get_ident(request) or ""  # type: ignore[arg-type]  # it reads META, which both have
    found = WITH_PORT.fullmatch(text)  # some proxies add the port
    try:
        return str(ip_address((found[1] or found[2]) if found else text))
    except ValueError:
        return "unknown"


def network_of(address: str) -> str:
    """What is counted as one client: an IPv4 address, or the /64 of an IPv6 address, because one host has all of it."""
    if ":" not in address:
        return address
    ip = IPv6Address(address)
    return str(ip.ipv4_mapped or IPv6Network((int(ip), 64), strict=False))


def _parse(rate: str) -> tuple[int, int]:
    throttle = SimpleRateThrottle.__new__(SimpleRateThrottle)
    number, period = throttle.parse_rate(rate)
    return number or 0, period or 1
