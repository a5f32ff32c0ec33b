"""The log: append events to streams, read them back. The only code that touches the event table."""

from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from importlib import import_module
from typing import Any
from uuid import UUID

import uuid_utils.compat as uuids
from django.db import connections, transaction
from django.db.models import Max, QuerySet

from apps.eventlog.aggregates import Aggregate
from apps.eventlog.database import statements
from apps.eventlog.encryption import personal_fields
from apps.eventlog.events import DomainEvent, Payload, RecordedEvent
from apps.eventlog.log import instants, queries
from apps.eventlog.models import Import, StoredEvent

ALIAS = "eventlog"
PAGE = 1000
STREAMS_PAGE = 4000

Events = Iterator[RecordedEvent]
Until = int | datetime | None
Form = Callable[[queries.Rows], list[RecordedEvent]]


class WrongExpectedVersion(Exception):
    """The stream is not at the version that the caller saw; `actual` is where it is."""

    def __init__(self, stream: str, expected: int, actual: int) -> None:
        super().__init__(f"{stream} is at version {actual}, not {expected}")
        self.stream, self.expected, self.actual = stream, expected, actual


class EventIdTaken(Exception):
    """An event with this id, but another content or in another stream, is already in the log."""


@dataclass(frozen=True, slots=True)
class Appended:
    """Where an append ended: the position and the stream version of its last event."""

    position: int
    version: int


def append(
    stream: str,
    events: Sequence[DomainEvent],
    *,
    expected_version: int,
    metadata: Payload | None = None,
    event_ids: Sequence[UUID] | None = None,
) -> Appended:
    """Append events to a stream, all or none; inside `unit()`, with what else happens there.

    `stream` is `<category>-<id>`; `expected_version` is the version the caller saw, 0 for a new
    stream; `metadata` (JSON values) goes with each event. Given `event_ids`, one an event, a
    repeated append is recognised: it answers as the first did and writes nothing.
    Personal fields are stored encrypted. Raises `WrongExpectedVersion`, `EventIdTaken`,
    `aggregates.Erased` where they belong to somebody who was erased, and `data_keys.MissingKey`.
    """
    if not events:
        raise ValueError("append needs at least one event")
    if not all(stream.partition("-")):
        raise ValueError(f"{stream!r} is not <category>-<id>")
    documents: list[Payload] = [
        {"event_id": id, "type": event.type, "schema_version": event.schema_version, "data": event.payload()}
        for event, id in zip(events, event_ids or [uuids.uuid7() for _ in events], strict=True)
    ]
    personal_fields.conceal(stream, events, documents, lambda subject: has_sealed(subject, stream))
    outcome, position, version = _engine().append(
        connections[ALIAS], stream, expected_version, documents, metadata or {}
    )
    if outcome == "conflict":
        raise WrongExpectedVersion(stream, expected_version, version)
    if outcome == "taken":
        raise EventIdTaken(f"an event id of this append to {stream} belongs to another event")
    return Appended(position, version)


def unit() -> AbstractContextManager[None]:
    """Several appends and reservations together: all of them or none."""
    return transaction.atomic(using=ALIAS)


def safe_position() -> int:
    """The position up to which no event can still appear: as far as a follower may read."""
    return _engine().safe_position(connections[ALIAS])


def head() -> int:
    """The position of the last visible event, 0 in an empty log; may be beyond the safe position."""
    return StoredEvent.objects.aggregate(head=Max("position"))["head"] or 0


def last_position() -> int:
    """The last position that was ever taken, by an append that may have been rolled back."""
    return _engine().last_position(connections[ALIAS])


def position_at(until: int | datetime) -> int:
    """The end of the prefix of the log that an instant (or a position) means."""
    if isinstance(until, int):
        return until
    return instants.blocks.position_at(until, safe_position())


def has_sealed(subject: UUID, *streams: str) -> bool:
    """Has the log something encrypted about a person: in a stream of theirs, or in an event that names them?

    Streams of theirs are those of every aggregate and of the categories of `streams`. Each is one look at an index.
    Events that name a person as their `subject` have none, so all events of such a type are looked through.
    """
    categories = {*Aggregate.registry, *(stream.partition("-")[0] for stream in streams)}
    naming = [kind.type for kind in DomainEvent.types.values() if kind.personal and kind.subject]
    query = queries.sealed_about(str(subject), [f"{category}-{subject}" for category in categories], naming)
    return bool(statements.rows(ALIAS, *query))


def read_stream(stream: str, *, after_version: int = 0, until: Until = None, keys_required: bool = False) -> Events:
    """The events of one stream, oldest first, up to a position or an instant.

    With `keys_required`, raises `data_keys.MissingKey` if a personal field cannot be read and nobody was erased.
    """
    rows = queries.of_stream(stream, after_version, None if until is None else position_at(until))
    return iter(personal_fields.reveal(stored(rows), keys_required=keys_required))


def read_all(
    *,
    after: int = 0,
    limit: int | None = None,
    category: str | Collection[str] | None = None,
    types: Collection[str] | None = None,
    until: Until = None,
    form: Form | None = None,
) -> Events:
    """The events of the log in the order of the world, never past the safe position.

    `after` is a position; `category` one or several; `until` a position or an instant; `form` is `recorded`,
    or `stored` for personal fields as they stand. Pages through the log, so memory stays constant.
    """
    end = safe_position()
    if until is not None:
        end = min(end, position_at(until))
    while limit is None or limit > 0:
        size = PAGE if limit is None else min(PAGE, limit)
        page = read_page(after=after, end=end, limit=size, category=category, types=types, form=form)
        yield from page
        if len(page) < size:
            return
        after = page[-1].position
        limit = limit - size if limit is not None else None


def read_page(
    *,
    after: int,
    end: int,
    limit: int,
    category: str | Collection[str] | None = None,
    types: Collection[str] | None = None,
    form: Form | None = None,
) -> list[RecordedEvent]:
    """One page of `read_all`, up to an `end` that was at or before the safe position."""
    query = queries.page(after, limit, [category] if isinstance(category, str) else category, types)
    page = (form or recorded)(query)
    # `end` is not in the query: PostgreSQL takes a range that it has no statistics of for few rows, and sorts them all.
    return [event for event in page if event.position <= end]


def any_after(position: int, *, category: Collection[str] = (), types: Collection[str] = ()) -> bool:
    """Is there an event of these categories or of these types beyond a position, safe to read already or not?"""
    column, values = ("category", category) if category else ("type", types)
    each = [_engine().one_beyond(position, column, value) for value in values]
    return bool(each) and bool(statements.rows(ALIAS, *queries.any_of(each)))


def read_streams(category: str, *, until: int, first: str = "", end: str = "", ahead: bool = True) -> Events:
    """The events of a category stream by stream, each stream oldest first, up to a position.

    `first` and `end` bound the streams by name; `end` is the first that is not read. `ahead` reads the next page
    in a thread while the caller works on this one.
    """
    low, high = first or f"{category}-", end or f"{category}."

    def page_after(stream: str, version: int) -> list[RecordedEvent]:
        return recorded_page(queries.streams((stream, version), high, until, STREAMS_PAGE))

    page = page_after(low, 0)
    with ThreadPoolExecutor(1) as reader:
        try:
            while page:
                last = page[-1].stream, page[-1].stream_version
                coming = reader.submit(page_after, *last) if ahead else None
                yield from page
                page = coming.result() if coming else page_after(*last)
        finally:
            if ahead:
                reader.submit(connections.close_all)  # the connection of that thread


def stream_ranges(category: str, events: int) -> Iterator[tuple[str, str]]:
    """Ranges of whole streams with about so many events each, for `read_streams`; no stream lies outside them."""
    first, last = f"{category}-", f"{category}."
    while first != last:
        beyond = statements.rows(ALIAS, *queries.stream_beyond(first, last, events))
        end = beyond[0][0] if beyond else last
        yield first, end
        first = end


def find(**where: Any) -> QuerySet[StoredEvent]:
    """Events by columns, oldest first, for the feed and the admin, which show and never follow."""
    return StoredEvent.objects.filter(**where).order_by("position")


def restore(documents: list[Payload]) -> int:
    """Write exported events (documents with typed ids and instants) as they were recorded.

    Event ids already in the log are passed over. A position is kept while it lies beyond the
    head of this log, otherwise the event takes the next one. Needs the owner's rights on
    PostgreSQL. Returns how many events were written; `Import` knows which.
    Raises IntegrityError where an event is not the next of its stream.
    """
    with unit():
        written, before, last = _engine().restore(connections[ALIAS], documents)
        if written and not Import.objects.filter(last=before).update(last=last):
            Import.objects.create(first=before + 1, last=last)
    return written


def refresh_statistics() -> None:
    """Let the database count the rows of a large import at once, as the log's owner; it plans reads by that."""
    _engine().refresh_statistics(connections[ALIAS])


def recorded(rows: queries.Rows) -> list[RecordedEvent]:
    """The events of `find`, in their recorded form; personal fields are readable, or `[erased]`."""
    return personal_fields.reveal(stored(rows))


def stored(rows: queries.Rows) -> list[RecordedEvent]:
    """The events of `find` to the letter, personal fields encrypted: for exports."""
    return _engine().recorded(connections[ALIAS], *queries.plain(rows))


def recorded_page(rows: queries.Rows) -> list[RecordedEvent]:
    """`recorded`, quicker for a thousand events and slower for a few."""
    return personal_fields.reveal(_engine().recorded_page(connections[ALIAS], *queries.plain(rows)))


def page_as_stored(*, after: int, end: int, limit: int) -> str | bytes:
    """One page of rows with every column just as it is stored: a JSON list, as `canonical.rows` takes it."""
    rows = StoredEvent.objects.filter(position__gt=after, position__lte=end).order_by("position")[:limit]
    query, parameters = rows.query.sql_with_params()
    return _engine().page_as_stored(connections[ALIAS], query, parameters) or b"[]"


def _engine() -> Any:
    return import_module(f"apps.eventlog.log.{connections[ALIAS].vendor}")  # the other's driver is not loaded
