"""Values that only one stream may hold. They are reserved in the transaction of an append: `store.unit()`.

They follow from what the aggregates hold, so they can be made again from the log. A value may be personal, for example
an e-mail address, so only a keyed hash of it is stored.

Versions of the code may differ in the form in which they compare values (`Aggregate.holds_form`). While a scope has
reservations in an older form, nothing is reserved in it, until `rebuild` has made them again. Once it has one in a
newer form, the database refuses older ones. So code of two versions never reserves side by side.
"""

import hmac
from collections.abc import Callable, Collection, Iterator
from itertools import groupby
from operator import attrgetter

from django.db import connections
from django.db.models import Min

from apps.eventlog import store
from apps.eventlog.aggregates import Aggregate
from apps.eventlog.database import statements
from apps.eventlog.encryption import data_keys
from apps.eventlog.events import ERASED, DomainEvent, RecordedEvent, UnknownEvent
from apps.eventlog.models import Reservation

BATCH = 500  # streams of one transaction


class Reserved(Exception):
    """Another stream holds the value."""

    def __init__(self, scope: str, key: str) -> None:
        super().__init__(f"{scope} {key!r} is taken")
        self.scope = scope


class Outdated(Exception):
    """There are reservations in the form of an older version of the code, so nothing can be reserved."""

    def __init__(self) -> None:
        super().__init__(
            "reservations are in the form of an older version of the code: the operators of this service have to run "
            "`manage.py rebuild_reservations`"
        )


def reserve(scope: str, key: str, stream: str, form: int = 1) -> None:
    """Reserve a value for a stream; raises `Reserved` if another stream holds it, and `Outdated`."""
    require_form(scope, form)
    wanted = Reservation(scope=scope, key=keyed_hash(scope, key), stream=stream, form=form)
    Reservation.objects.bulk_create([wanted], ignore_conflicts=True)
    if _holder(scope, wanted.key) != stream:
        raise Reserved(scope, key)


def require_form(scope: str, form: int) -> None:
    """Raise `Outdated` if a scope has reservations in an older form."""
    oldest = Reservation.objects.filter(scope=scope).aggregate(Min("form"))["form__min"]
    if oldest is not None and oldest < form:
        raise Outdated


def outdated() -> bool:
    """Is there any reservation in an older form than that of this code? No index helps here."""
    return any(
        Reservation.objects.filter(form__lt=kind.holds_form, stream__startswith=f"{kind.category}-").exists()
        for kind in _holding()
    )


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


class Clash(Exception):
    """Two streams hold one value in the log."""

    def __init__(self, scope: str, stream: str, holder: str) -> None:
        super().__init__(f"{stream} and {holder} both hold one {scope.rpartition('.')[2]}; only one of them may")
        self.scope, self.streams = scope, (stream, holder)


def follow(streams: Collection[str]) -> list[str]:
    """Make the reservations of these streams what their aggregates hold, in the open transaction.

    Returns the streams of which that cannot be told, because this code cannot read an event of theirs or a data key is
    missing; their reservations stay. Raises `Clash`.
    """
    wanted, unreadable = _wanted(store.read_whole([stream for stream in streams if _can_hold(stream)]))
    for row in Reservation.objects.filter(stream__in=[*wanted, *unreadable]):
        if row.stream in unreadable:
            wanted.setdefault(row.stream, set()).add((row.scope, row.key))
        if row.form < _form(row.stream) or (row.scope, row.key) not in wanted[row.stream]:
            row.delete()
    for stream, held in wanted.items():
        for scope, key in held:
            row = Reservation(scope=scope, key=key, stream=stream, form=_form(stream))
            Reservation.objects.bulk_create([row], ignore_conflicts=True)
            if (holder := _holder(scope, key)) != stream:
                raise Clash(scope, stream, holder or "nobody")
    return unreadable


def rebuild(progress: Callable[[int], None] = lambda events: None) -> list[str]:
    """Make all reservations again from the log; returns the streams that cannot be read.

    `progress` is called with the number of events read since its last call. Commands may go on. Raises `Clash`.
    """
    upgrade = outdated()
    unreadable = _rebuild(progress, alone=upgrade)
    # Again if older code has reserved before the first of these transactions ended; since then it could not.
    return _rebuild(progress, alone=True) if upgrade and outdated() else unreadable


def _rebuild(progress: Callable[[int], None], *, alone: bool) -> list[str]:
    unreadable: list[str] = []
    _remove_strays()
    for kind in _holding():
        for streams, events in _parts(store.read_streams(kind.category, until=store.safe_position())):
            with store.unit():
                if alone:
                    _wait_for_others()
                unreadable += follow(streams)
            progress(events)
    return unreadable


def _wait_for_others() -> None:
    """Wait for reservations that are not committed yet: older code may be at one. SQLite has one writer anyway."""
    if connections[store.ALIAS].vendor == "postgresql":
        statements.run(store.ALIAS, f"LOCK TABLE {Reservation._meta.db_table} IN SHARE ROW EXCLUSIVE MODE")


def _holding() -> list[type[Aggregate]]:
    """The aggregates that can hold something."""
    return [kind for kind in Aggregate.registry.values() if _can_hold(f"{kind.category}-")]


def _form(stream: str) -> int:
    return Aggregate.registry[stream.partition("-")[0]].holds_form


def _parts(history: Iterator[RecordedEvent]) -> Iterator[tuple[list[str], int]]:
    """Some hundred streams at a time, and how many events they have."""
    streams: list[str] = []
    events = 0
    for stream, recorded in groupby(history, attrgetter("stream")):
        streams.append(stream)
        events += sum(1 for _ in recorded)
        if len(streams) == BATCH:
            yield streams, events
            streams, events = [], 0
    yield streams, events


def _remove_strays() -> None:
    """Remove the reservations of streams that the log does not have, as after a restored backup of the log."""
    held = sorted(set(Reservation.objects.values_list("stream", flat=True)))
    for start in range(0, len(held), BATCH):
        part = held[start : start + BATCH]
        there = {first.stream for first in store.first_events(part)}
        Reservation.objects.filter(stream__in=set(part) - there).delete()


def _wanted(history: list[RecordedEvent]) -> tuple[dict[str, set[tuple[str, str]]], list[str]]:
    """What each stream holds, as scopes and keyed hashes; and the streams that cannot be read."""
    wanted: dict[str, set[tuple[str, str]]] = {}
    unreadable = []
    for stream, events in groupby(history, attrgetter("stream")):
        try:
            held = _fold(list(events)).holds()
        except (UnknownEvent, ValueError, LookupError):
            unreadable.append(stream)
        else:
            wanted[stream] = {(scope, keyed_hash(scope, value)) for scope, value in held}
    return wanted, unreadable


def _fold(events: list[RecordedEvent]) -> Aggregate:
    """Raises ValueError if a personal field cannot be read although nobody was erased."""
    aggregate = Aggregate.registry[events[0].category](events[0].stream_id).fold(events)
    if not aggregate.erased and any(_is_unreadable(recorded) for recorded in events):
        raise ValueError("a data key is missing")
    return aggregate


def _is_unreadable(recorded: RecordedEvent) -> bool:
    data = recorded.data
    return any(data.get(field) == ERASED for field in DomainEvent.types[recorded.type].personal)


def _can_hold(stream: str) -> bool:
    kind = Aggregate.registry.get(stream.partition("-")[0])
    return kind is not None and kind.holds is not Aggregate.holds
