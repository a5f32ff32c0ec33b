"""Exported events on their way back into a log: which of them to write, where, and what is wrong with one."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec

from apps.eventlog.events import InvalidEvent, Payload, RecordedEvent
from apps.eventlog.log import admission
from apps.eventlog.log.records import EventIdTaken, Row

LAST_POSITION = 2**53  # the largest whole number that every client can hold
FARTHEST = 10**9  # positions beyond the head, so that many imports leave room for the events to come
EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
AHEAD = timedelta(minutes=5)  # by which another machine's clock may be ahead of this one's

# A number as it is written, so that no digit is lost on the way; and in plain digits, as PostgreSQL writes it.
_decode = msgspec.json.Decoder(dict[str, Any], float_hook=lambda digits: msgspec.Raw(digits.encode())).decode
_decode_plain = msgspec.json.Decoder(dict[str, Any], float_hook=lambda digits: msgspec.Raw(_plain(digits))).decode
_compare = msgspec.json.Decoder(float_hook=Decimal).decode
_sorted = msgspec.json.Encoder(order="sorted").encode


class ExportedEvent(msgspec.Struct, forbid_unknown_fields=True):
    """One line of an export: the fields of a recorded event, all and no others. `data` and `metadata` are JSON."""

    position: int
    event_id: UUID
    stream: str
    stream_version: int
    type: str
    schema_version: int
    data: msgspec.Raw
    metadata: msgspec.Raw
    recorded_at: datetime

    def __str__(self) -> str:
        return f"{repr(self.type[:60])[1:-1]} {self.event_id}"  # on one line, whatever the type is


def exported(recorded: RecordedEvent) -> bytes:
    """The line of an event, as it is stored, in an export. Both engines give the same bytes."""
    event = ExportedEvent(
        recorded.position,
        recorded.event_id,
        recorded.stream,
        recorded.stream_version,
        recorded.stored_type,
        recorded.schema_version,
        msgspec.Raw(canonical(recorded.stored_data)),
        msgspec.Raw(canonical(recorded.stored_metadata)),
        recorded.recorded_at.astimezone(UTC),
    )
    return msgspec.json.encode(event)


def canonical(text: bytes | msgspec.Raw) -> bytes:
    """The same JSON in the form of an export, whatever engine it comes from: keys sorted, no spaces, plain digits."""
    return _sorted(_decode_plain(text))


def _plain(digits: str) -> bytes:
    """`1e2` as 100 and `-0.0` as 0.0; 1.10 stays as it is."""
    number = Decimal(digits)
    return format(number or abs(number), "f").encode()


def check(event: ExportedEvent) -> None:
    """Raise `InvalidEvent` unless the event by itself may enter the log."""
    admission.check_stream(event.stream)
    admission.check_recorded(event.type, event.schema_version, bytes(event.data), str(event))
    admission.check_recorded_metadata(bytes(event.metadata), str(event))
    if not 1 <= event.position <= LAST_POSITION:
        raise InvalidEvent(str(event), "position", "is a number from 1 to 2**53")
    if event.stream_version < 1:
        raise InvalidEvent(str(event), "stream_version", "is 1 or more")
    if event.recorded_at.tzinfo is None:
        raise InvalidEvent(str(event), "recorded_at", "has a time zone, as in 2026-11-29T12:00:00Z")
    if not EARLIEST <= event.recorded_at <= datetime.now(UTC) + AHEAD:
        raise InvalidEvent(str(event), "recorded_at", "lies between 1970 and five minutes from now")


def rows(
    events: Sequence[ExportedEvent],
    head: int,
    known: Mapping[UUID, RecordedEvent],
    last: Mapping[str, RecordedEvent],
    conceal: Callable[[str, Payload], None],
) -> list[Row]:
    """The rows of the events that are not in the log yet.

    `head` is the last position of the log, `known` has the stored events with the ids of these, and `last` the newest
    event of each of their streams. `conceal` encrypts the personal fields in the document of an event. Raises
    `InvalidEvent`, and `EventIdTaken` for an id that two different events have.
    """
    written: dict[UUID, Row] = {}
    ends = {stream: (event.stream_version, event.recorded_at) for stream, event in last.items()}
    for event in events:
        check(event)
        row = _row(event, max(head + 1, event.position), conceal)
        twin = written.get(event.event_id) or known.get(event.event_id)
        if twin is not None:
            if not _same(row, twin):
                raise EventIdTaken(event.event_id, twin)
            continue
        if row.position > head + FARTHEST:
            raise InvalidEvent(str(event), "position", f"lies at most {FARTHEST:,} beyond the last one, {head}")
        version, instant = ends.get(event.stream, (0, EARLIEST))
        if event.stream_version != version + 1:
            raise InvalidEvent(str(event), "stream_version", f"is {version + 1}, the next of {event.stream}")
        row = row._replace(recorded_at=max(row.recorded_at, instant))  # no event is before the last of its stream
        ends[event.stream] = row.stream_version, row.recorded_at
        written[event.event_id], head = row, row.position
    return list(written.values())


def _row(event: ExportedEvent, position: int, conceal: Callable[[str, Payload], None]) -> Row:
    document: Payload = {"event_id": event.event_id, "type": event.type, "data": _decode(event.data)}
    conceal(event.stream, document)
    metadata = _decode(event.metadata)
    data, about = msgspec.json.encode(document["data"]), msgspec.json.encode(metadata)
    admission.check_size(len(data) + len(about), str(event))
    return Row(
        position,
        event.event_id,
        event.stream,
        event.stream_version,
        event.type,
        event.schema_version,
        data,
        about,
        metadata.get("correlation_id"),
        event.recorded_at,
    )


def _same(row: Row, twin: Row | RecordedEvent) -> bool:
    if isinstance(twin, RecordedEvent):
        data, metadata = twin.stored_data, twin.stored_metadata
    else:
        data, metadata = twin.data, twin.metadata
    type = twin.stored_type if isinstance(twin, RecordedEvent) else twin.type
    names = ("stream", "stream_version", "schema_version")
    alike = row.type == type and all(getattr(row, name) == getattr(twin, name) for name in names)
    return alike and _compare(row.data) == _compare(data) and _compare(row.metadata) == _compare(metadata)
