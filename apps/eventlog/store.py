"""The log: append events to streams, read them back. Everybody but the admin reaches the event table through here."""

from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Any, Unpack
from uuid import UUID

import msgspec
import uuid_utils.compat as uuids
from django.db import connections, transaction

from apps.eventlog.aggregates import Aggregate
from apps.eventlog.database import statements
from apps.eventlog.encryption import personal_fields
from apps.eventlog.events import DomainEvent, Payload, Place, RecordedEvent
from apps.eventlog.log import admission, importing, instants, places, queries
from apps.eventlog.log.engine import ALIAS, engine
from apps.eventlog.log.importing import ExportedEvent
from apps.eventlog.log.queries import Conditions
from apps.eventlog.log.records import Answer, Appended, EventIdTaken, Expected, WrongExpectedVersion
from apps.eventlog.models import Import

PAGE = 1000  # events that an iterator holds at a time
STREAMS_PAGE = 4000
NEWEST = 2**31  # beyond every stream version

ANY, EXISTS = Expected.ANY, Expected.EXISTS
Events = Iterator[RecordedEvent]
LogWentBack = places.LogWentBack
Until = int | datetime | None


def append(
    stream: str,
    events: Sequence[DomainEvent],
    *,
    expected_version: int | Expected,
    metadata: Payload | None = None,
    event_ids: Sequence[UUID] | None = None,
) -> Appended:
    """Append events to a stream, all or none; inside `unit()`, together with everything else there.

    `stream` is `<category>-<id>`. `expected_version` is the version that the caller saw, 0 for a new stream; `ANY`
    takes whatever version the stream has, `EXISTS` any but 0. `metadata` (JSON values) is stored with each event. With
    `event_ids`, one for each event, the same append sent again is recognised: it answers as the first did and writes
    nothing. Personal fields are stored encrypted.

    Raises `InvalidEvent` before anything is written (see `log/admission.py`), `WrongExpectedVersion`, `EventIdTaken`,
    `aggregates.Erased` if personal fields are about somebody who was erased, and `data_keys.MissingKey`.
    """
    if not events:
        raise ValueError("append needs at least one event")
    if type(expected_version) is not int and not isinstance(expected_version, Expected):
        raise ValueError(f"expected_version is a whole number, store.ANY or store.EXISTS, not {expected_version!r}")
    admission.check_stream(stream)
    payloads = [admission.check_event(event) for event in events]
    about = admission.check_metadata(metadata or {}, events[0].type)
    documents = _documents(events, payloads, event_ids, (metadata or {}).get("correlation_id"))
    personal_fields.conceal(stream, documents, lambda subject: has_encrypted(subject, stream))
    for document in documents:
        text = msgspec.json.encode(document["data"])
        admission.check_size(len(text) + len(about), document["type"])
        document["data"] = msgspec.Raw(text)  # the engine writes the text
    answer = _append(stream, expected_version, documents, about)
    if answer.outcome == "conflict":
        raise WrongExpectedVersion(stream, expected_version, answer.version)
    if answer.taken is not None:
        [holder] = engine().read(queries.with_ids([answer.taken]))
        raise EventIdTaken(answer.taken, holder)
    return Appended(answer.positions[-1], answer.version, tuple(answer.positions))


def _documents(
    events: Sequence[DomainEvent], payloads: list[Payload], ids: Sequence[UUID] | None, correlation_id: str | None
) -> list[Payload]:
    ids = [uuids.uuid7() for _ in events] if ids is None else admission.checked_ids(ids)
    if len(set(ids)) < len(ids):
        raise EventIdTaken(next(id for id in ids if ids.count(id) > 1), "another event of this append")
    return [
        {
            "event_id": id,
            "type": event.type,
            "schema_version": event.schema_version,
            "data": payload,
            "correlation_id": correlation_id,
        }
        for event, payload, id in zip(events, payloads, ids, strict=True)
    ]


def _append(stream: str, expected: int | Expected, documents: list[Payload], metadata: bytes) -> Answer:
    """With `ANY`, again until nobody else is faster."""
    if not isinstance(expected, Expected) and not 0 <= expected < NEWEST:
        newest = last(stream)
        return Answer("conflict", [], newest.stream_version if newest else 0)
    while True:
        answer = engine().append(stream, expected, documents, metadata)
        if answer.outcome != "conflict" or expected is not ANY:
            return answer


def unit() -> AbstractContextManager[None]:
    """Several appends and reservations together: all of them or none."""
    return transaction.atomic(using=ALIAS)


def require(stream: str, version: int) -> None:
    """Inside `unit()`: what is appended there depends on another stream, which is at this version; 0 for no event.

    Nobody appends to that stream before the unit ends, so none of its events lies between what was seen and what is
    appended. Raises `WrongExpectedVersion` if the stream is at another version, and RuntimeError outside of `unit()`.
    """
    if not connections[ALIAS].in_atomic_block:
        raise RuntimeError("store.require belongs into store.unit()")
    if (actual := engine().held_version(stream)) != version:
        raise WrongExpectedVersion(stream, version, actual)


def safe_position() -> int:
    """The position up to which no event can still appear: as far as a follower may read."""
    return safe_place().position


def safe_place() -> Place:
    """The event at the safe position."""
    return engine().safe_place()


def head() -> int:
    """The position of the last visible event, 0 in an empty log; it may lie beyond the safe position."""
    return _value(queries.head()) or 0


def is_empty() -> bool:
    """Is there no event, or not even a table of events yet?"""
    return queries.TABLE not in connections[ALIAS].introspection.table_names() or not head()


def last_position() -> int:
    """The last position that was ever taken, by an append that may have been rolled back."""
    return engine().last_position()


def position_at(until: int | datetime) -> int:
    """The last position that an instant means; a position means itself."""
    if isinstance(until, int):
        return until
    return instants.blocks.position_at(until, safe_position())


def has_encrypted(subject: UUID, *streams: str) -> bool:
    """Does the log have something encrypted about a person: in one of their streams, or in an event that names them?

    Their streams are those of every aggregate and of the categories of `streams`. Each is one look at an index. Events
    that name a person as their `subject` have no index, so all events of such a type are looked through.
    """
    categories = {*Aggregate.registry, *(stream.partition("-")[0] for stream in streams)}
    naming = [kind.type for kind in DomainEvent.types.values() if kind.personal and kind.subject]
    query = queries.encrypted_about(str(subject), [f"{category}-{subject}" for category in categories], naming)
    return bool(statements.rows(ALIAS, *query))


def position_of(stream: str, version: int | None = None) -> int | None:
    """The position of a version of a stream, by default of its last; None if the stream has no such version."""
    return _value(queries.position_of(stream, version))


def read_stream(
    stream: str,
    *,
    after_version: int = 0,
    until: Until = None,
    limit: int | None = None,
    backwards: bool = False,
    keys_required: bool = False,
) -> Events:
    """The events of one stream, oldest first; with `backwards`, newest first.

    They lie beyond `after_version`, and up to `until`, a position or an instant. `limit` is the most events to read.
    Reads page by page, so memory stays constant. With `keys_required`, raises `data_keys.MissingKey` if a personal
    field cannot be read and nobody was erased.
    """
    end = None if until is None else position_at(until)
    versions = range(after_version + 1, NEWEST)
    return _stream_pages(stream, versions, end, limit, backwards=backwards, keys_required=keys_required)


def _stream_pages(
    stream: str, versions: range, end: int | None, limit: int | None, *, backwards: bool, keys_required: bool
) -> Events:
    for size in _page_sizes(limit):
        page = _reveal(queries.stream_page(stream, versions, end, size, backwards=backwards), keys_required)
        yield from page
        if len(page) < size:
            return
        last = page[-1].stream_version
        versions = range(versions.start, last) if backwards else range(last + 1, versions.stop)


def _page_sizes(limit: int | None) -> Iterator[int]:
    """The sizes of the pages that hold so many events; they never end if there is no limit."""
    while limit is None:
        yield PAGE
    while limit > 0:
        yield min(PAGE, limit)
        limit -= PAGE


def last(stream: str) -> RecordedEvent | None:
    """The newest event of a stream, None if the stream has none."""
    return next(read_stream(stream, limit=1, backwards=True), None)


def read_all(
    *,
    after: int | Place = 0,
    limit: int | None = None,
    until: Until = None,
    encrypted: bool = False,
    **conditions: Unpack[Conditions],
) -> Events:
    """The events of the log in the order of their positions, never past the safe position.

    They lie beyond `after`, a position or a place, and up to `until`, a position or an instant. `limit` is the most
    events to read. `category`, one or several, `types` and the other `Conditions` say which. With `encrypted`, personal
    fields stay as they are stored. Reads page by page, so memory stays constant. Raises `LogWentBack` if the place
    `after`, or meanwhile the last event of a page, is not in the log.
    """
    end = safe_position() if until is None else min(safe_position(), position_at(until))
    return _pages(after, end, limit, encrypted=encrypted, **conditions)


def _pages(
    after: int | Place, end: int, limit: int | None, *, encrypted: bool, **conditions: Unpack[Conditions]
) -> Events:
    for size in _page_sizes(limit):
        page = read_page(after=after, end=end, limit=size, encrypted=encrypted, **conditions)
        yield from page
        if len(page) < size:
            return
        after = page[-1].place


def read_page(
    *,
    after: int | Place,
    end: int,
    limit: int,
    backwards: bool = False,
    encrypted: bool = False,
    **conditions: Unpack[Conditions],
) -> list[RecordedEvent]:
    """One page of `read_all`, up to an `end` that was at or before the safe position; `backwards`, from there back.

    With a place, raises `LogWentBack` unless the log has that event there.
    """
    place = after if isinstance(after, Place) else Place(after)
    if place.event_id is None:
        page = engine().read(queries.page(place.position, limit, conditions, back_from=end if backwards else None))
    else:
        page = engine().read(queries.page_from(place.position, limit, conditions))
        places.require(place, page[0].place if page else None)
        page = page[1:]
    # Forwards, `end` is not in the query: PostgreSQL would expect few rows in that range, and sort them all.
    page = [event for event in page if event.position <= end]
    return page if encrypted else personal_fields.reveal(page)


def event_at(position: int) -> RecordedEvent:
    """The event at a position. Raises LookupError if there is none."""
    for recorded in _reveal(queries.at(position)):
        return recorded
    raise LookupError(f"there is no event at position {position}")


def first_events(streams: Collection[str]) -> list[RecordedEvent]:
    """The first event of each of these streams that exists, with one query for all."""
    return _reveal(queries.first_of(streams)) if streams else []


def count(
    *,
    after: int = 0,
    until: int | None = None,
    category: str | Collection[str] | None = None,
    types: Collection[str] | None = None,
) -> int:
    """How many events, of a category or of several, or of some types, lie beyond a position and up to another."""
    return _value(queries.count(after, until, category, types))


def any_after(
    position: int, *, until: int | None = None, category: Collection[str] = (), types: Collection[str] = ()
) -> bool:
    """Is there an event of these categories, or else of these types, beyond a position and up to another?

    Without `until`, an event that is not safe to read yet counts too.
    """
    return places.look(position, until=until, category=category, types=types).news


def read_whole(streams: Collection[str]) -> list[RecordedEvent]:
    """All events of these streams, stream by stream, each oldest first."""
    return _reveal(queries.of_streams(streams)) if streams else []


def read_streams(category: str, *, until: int, first: str = "", end: str = "", ahead: bool = True) -> Events:
    """The events of a category stream by stream, each stream oldest first, up to a position.

    `first` and `end` bound the streams by name; `end` is the first that is not read. With `ahead`, a thread reads the
    next page while the caller works on this one.
    """
    low, high = first or f"{category}-", end or f"{category}."

    def page_after(stream: str, version: int) -> list[RecordedEvent]:
        return _reveal(queries.by_stream((stream, version), high, until, STREAMS_PAGE))

    page = page_after(low, 0)
    with ThreadPoolExecutor(1) as reader:
        try:
            while page:
                reached = page[-1].stream, page[-1].stream_version
                coming = reader.submit(page_after, *reached) if ahead else None
                yield from page
                page = coming.result() if coming else page_after(*reached)
        finally:
            if ahead:
                reader.submit(connections.close_all)  # the connection of that thread


def stream_ranges(category: str, events: int) -> Iterator[tuple[str, str]]:
    """Ranges of whole streams, for `read_streams`. A range has about `events` events, and each stream is in one."""
    first, last = f"{category}-", f"{category}."
    while first != last:
        end = _value(queries.stream_beyond(first, last, events)) or last
        yield first, end
        first = end


def import_events(events: Sequence[ExportedEvent], check: Callable[[set[str]], None] = lambda streams: None) -> int:
    """Write exported events as they were recorded, all or none; returns how many were not in the log already.

    If any are written, `check` is called with the streams of the events. What it raises undoes the import.
    An event keeps its position if that lies beyond the last position of this log; otherwise it takes the next one.
    Likewise an instant before the last one of the stream becomes that one. `Import` records which positions were
    written. Personal fields in clear text are encrypted. On PostgreSQL this needs the rights of the log's owner.

    Raises `InvalidEvent`, `EventIdTaken`, and what `append` raises about data keys.
    """
    if not events:
        return 0
    with unit():
        before = engine().lock()
        known = engine().read(queries.with_ids([event.event_id for event in events]))
        newest = engine().read(queries.last_of({event.stream for event in events}))
        by_id, ends = {each.event_id: each for each in known}, {each.stream: each for each in newest}
        rows = importing.rows(events, before, by_id, ends, _conceal)
        if rows:
            engine().write(rows)
            last = rows[-1].position
            if not Import.objects.filter(last=before).update(last=last):
                Import.objects.create(first=before + 1, last=last)
            check({event.stream for event in events})
            engine().continue_after(last)
    return len(rows)


def _conceal(stream: str, document: Payload) -> None:
    personal_fields.conceal(stream, [document], lambda subject: has_encrypted(subject, stream))


def import_end(position: int) -> int | None:
    """The last position of the import that an event came with; None for an event that was appended here."""
    last = _value(queries.import_before(position))
    return last if last is not None and last >= position else None


def refresh_statistics() -> None:
    """Let the database count the rows of a large import at once, as the log's owner; it plans reads by that."""
    engine().refresh_statistics()


def _reveal(query: statements.Query, keys_required: bool = False) -> list[RecordedEvent]:
    """The events of a query, with readable personal fields; they read `[erased]` if the person was erased."""
    return personal_fields.reveal(engine().read(query), keys_required=keys_required)


def _value(query: statements.Query) -> Any:
    """The first value of the first row, None without a row."""
    rows = statements.rows(ALIAS, *query)
    return rows[0][0] if rows else None
