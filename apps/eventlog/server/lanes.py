"""Which pool a request belongs to, and whose request it is there.

Commands and queries do not wait for each other, and neither waits for passwords: to hash one takes tens of
milliseconds of every core and 100 MB of memory. The metrics wait for none of them: they say what hangs.
"""

from types import SimpleNamespace
from typing import Any

from django.http.request import HttpHeaders
from rest_framework.throttling import BaseThrottle

QUERIES, COMMANDS, PASSWORDS, MONITORING = "queries", "commands", "passwords", "monitoring"
METRICS = "/metrics"

# A body that brings a password has this word in it. It can also be spelled with escapes, of JSON and of forms, for
# letters that need none. Nobody does so but an attacker.
PASSWORD = (b"password", b"\\u006", b"\\u007", b"%6", b"%7")


def lane_of(environ: dict[str, Any], body: bytes) -> str:
    """The pool of a request: the method tells queries from commands, the body tells those with a password."""
    if environ.get("PATH_INFO") == METRICS:
        return MONITORING
    if environ["REQUEST_METHOD"] in ("GET", "HEAD", "OPTIONS"):
        return QUERIES
    return PASSWORDS if _brings_a_password(environ.get("CONTENT_TYPE", ""), body) else COMMANDS


def _brings_a_password(media_type: str, body: bytes) -> bool:
    charset = media_type.lower().partition("charset=")[2].strip("\"' ")
    if charset and not charset.startswith("utf-8"):
        return True  # another charset could spell the word in other bytes
    return any(word in body for word in PASSWORD)


def whose(environ: dict[str, Any], lane: str) -> str:
    """Who asks: a login, or else the network address. Whoever brings a password is not known yet."""
    login = environ.get("HTTP_AUTHORIZATION") or environ.get("HTTP_COOKIE")
    if login and lane != PASSWORDS:
        return login
    head: Any = SimpleNamespace(META=environ, headers=HttpHeaders(environ))  # all that it reads of a request
    return BaseThrottle().get_ident(head)
