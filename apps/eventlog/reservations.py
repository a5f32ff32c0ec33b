"""Values that only one stream may hold. They are reserved in the transaction of an append: `store.unit()`.

A value may be personal, for example an e-mail address, so only a keyed hash of it is stored.
"""

import hmac

from apps.eventlog.encryption import data_keys
from apps.eventlog.models import Reservation


class Reserved(Exception):
    """Another stream holds the value."""

    def __init__(self, scope: str, key: str) -> None:
        super().__init__(f"{scope} {key!r} is taken")
        self.scope = scope


def reserve(scope: str, key: str, stream: str) -> None:
    """Reserve a value for a stream; raises `Reserved` if another stream holds it."""
    wanted = Reservation(scope=scope, key=keyed_hash(scope, key), stream=stream)
    Reservation.objects.bulk_create([wanted], ignore_conflicts=True)
    if _holder(scope, wanted.key) != stream:
        raise Reserved(scope, key)


def release(scope: str, key: str, stream: str) -> None:
    """Give a value back, if this stream holds it."""
    Reservation.objects.filter(scope=scope, key=keyed_hash(scope, key), stream=stream).delete()


def release_all(stream: str) -> None:
    """Give back whatever this stream holds. No index helps here, so this is for what seldom happens: an erasure."""
    Reservation.objects.filter(stream=stream).delete()


def reserved_by(scope: str, key: str) -> str | None:
    """The stream that holds the value, or None."""
    if not _in_use():
        return None  # a look makes no key, which would be in the way of the keys of a log that moves here
    return _holder(scope, keyed_hash(scope, key))


def keyed_hash(scope: str, key: str) -> str:
    """The form in which a value is stored. Without this installation's key, nobody can test a guess against it."""
    return hmac.new(data_keys.installation_key(_in_use), f"{scope}\0{key}".encode(), "sha256").hexdigest()


def for_log(scope: str, key: str) -> str:
    """The keyed hash of a value, for a line in a server's log; `-` if there is no key yet or the key is missing."""
    try:
        return keyed_hash(scope, key) if _in_use() else "-"
    except data_keys.MissingKey:
        return "-"


def _in_use() -> bool:
    """Is there any reservation, made with the key of this installation?"""
    return Reservation.objects.exists()


def _holder(scope: str, hashed: str) -> str | None:
    return Reservation.objects.filter(scope=scope, key=hashed).values_list("stream", flat=True).first()
