"""Values that one stream holds and no other may; reserved in the transaction of an append, `store.unit()`."""

from apps.eventlog.models import Reservation


class Reserved(Exception):
    """Another stream holds the value."""

    def __init__(self, scope: str, key: str) -> None:
        super().__init__(f"{scope} {key!r} is taken")
        self.scope = scope


def reserve(scope: str, key: str, stream: str) -> None:
    """Reserve a value for a stream; raises `Reserved` where another stream holds it."""
    wanted = Reservation(scope=scope, key=key, stream=stream)
    Reservation.objects.bulk_create([wanted], ignore_conflicts=True)
    if reserved_by(scope, key) != stream:
        raise Reserved(scope, key)


def release(scope: str, key: str, stream: str) -> None:
    """Give a value back, if this stream holds it."""
    Reservation.objects.filter(scope=scope, key=key, stream=stream).delete()


def reserved_by(scope: str, key: str) -> str | None:
    """The stream that holds the value, or None."""
    return Reservation.objects.filter(scope=scope, key=key).values_list("stream", flat=True).first()
