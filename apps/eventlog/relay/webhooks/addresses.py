"""Which URLs and which addresses may be called: none of this machine, nor of a network that outsiders cannot reach.

What is checked is the very address to which a connection is made, as it is made. A name that answers with another
address the next time, a redirect and an odd way to write an address change nothing about that.
"""

import re
import socket
import threading
from concurrent.futures import Future
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Any

from django.conf import settings
from yarl import URL

LONGEST = 2000  # characters of a URL
SCHEMES = ("https", "http")
NOT_IN_A_URL, HOST = re.compile(r"[\x00-\x20\x7f]"), re.compile(r"[0-9A-Za-z_.:-]+")
LOOKUPS = 50  # names that are looked up at the same time; one that hangs has a thread until the system gives it up
GLOBAL_UNICAST = IPv6Network("2000::/3")  # all that is given out so far (RFC 4291, IANA)
NAT64 = IPv6Network("64:ff9b::/96")  # ends in an IPv4 address
# Ways through other machines (Teredo, 6to4), and what is no address of a host.
NOT_HOSTS = [IPv6Network(text) for text in ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")]

_lookups = threading.BoundedSemaphore(LOOKUPS)


class Refused(OSError):
    """A URL or an address that may not be called; the message says why."""


def checked_url(text: str) -> str:
    """The URL as it will be called. Raises `Refused`; the name need not have an address yet."""
    try:
        url = URL(text)
        port, host = url.port, url.raw_host or ""
    except ValueError as error:
        raise Refused(f"not a URL: {error}") from error
    if len(text) > LONGEST or NOT_IN_A_URL.search(text) or not HOST.fullmatch(host) or url.scheme not in SCHEMES:
        raise Refused(f"a URL such as https://example.org/hook, of at most {LONGEST} characters")
    if url.user is not None or url.password is not None or url.raw_fragment:
        raise Refused("a URL without a name, a password and a fragment")
    if not settings.WEBHOOKS_PRIVATE:
        if url.scheme == "http":
            raise Refused("an https URL, so that nobody on the way can read the events")
        if port != 443 and (port or 0) < 1024:
            raise Refused("a port that other services do not have: 443, or 1024 and above")
    return str(url)


def require_allowed(text: str, timeout: float) -> None:
    """Raise `Refused` if the host of a URL has an address that may not be called.

    If it has none, or if nobody says within `timeout` seconds, this returns: a delivery will see.
    """
    url = URL(text)
    try:
        look_up(url.raw_host or "", url.port or 0, socket.AF_UNSPEC).result(timeout)
    except Refused:
        raise
    except (OSError, TimeoutError):
        return


def look_up(host: str, port: int, family: int) -> "Future[list[Any]]":
    """The addresses of a host as `socket.getaddrinfo` has them, found in a thread of its own.

    The result raises `Refused` if one of them may not be called: a name with two faces is not to be trusted.
    """
    found: Future[list[Any]] = Future()
    if not _lookups.acquire(blocking=False):
        found.set_exception(OSError("too many names are being looked up"))
        return found

    def work() -> None:
        try:
            answers = socket.getaddrinfo(host, port, family, socket.SOCK_STREAM)
            for *_, address in answers:
                check(str(address[0]))
        except (OSError, UnicodeError) as error:  # UnicodeError: a label of the name is too long
            found.set_exception(error if isinstance(error, OSError) else OSError(str(error)))
        else:
            found.set_result(answers)
        finally:
            _lookups.release()

    threading.Thread(target=work, name=f"look up {host}", daemon=True).start()
    return found


def check(text: str) -> None:
    """Raise `Refused` unless this address may be called."""
    if not settings.WEBHOOKS_PRIVATE and not is_public(text):
        raise Refused(f"{text} is not a public address")


def is_public(text: str) -> bool:
    """Can everybody on the internet reach this address, and does it belong to a single host?"""
    address = ip_address(text)
    if isinstance(address, IPv6Address) and address in NAT64:
        address = IPv4Address(int(address) & 0xFFFFFFFF)
    if isinstance(address, IPv6Address):
        known = address in GLOBAL_UNICAST and not any(address in network for network in NOT_HOSTS)
        return known and address.scope_id is None and address.is_global
    return address.is_global and not address.is_multicast and not address.is_reserved
