"""An event as a message to the outside: a CloudEvent 1.0 in binary mode, whose data is the event's document.

Personal fields are left out: what has left the house cannot be erased. Headers follow the NATS binding of CloudEvents:
each attribute has a header of its own, and what a header cannot carry is percent-encoded.
"""

import re
from functools import lru_cache
from typing import Any, NamedTuple, TypedDict

import msgspec

from apps.eventlog.events import FIELDS, DomainEvent, Place, RecordedEvent, is_encrypted
from apps.eventlog.log import places

SPECIFICATION = "1.0"
CONTENT_TYPE = "application/json"
MESSAGE_ID, POSITION = "Nats-Msg-Id", "Headrace-Position"
# The attributes that a message has as headers, and what each says.
ATTRIBUTES = {
    "specversion": f"the version of CloudEvents, {SPECIFICATION}",
    "id": "the id of the event; with the source, it names the event in the whole world",
    "source": "the log, as urn:uuid: and the id of its first event",
    "type": "the type of the event, as in orders.OrderPlaced",
    "subject": "the stream of the event, as in order-<uuid>",
    "time": "when the log took the event",
    "datacontenttype": f"{CONTENT_TYPE}: the body is the event's document",
}

_NOT_IN_A_HEADER = re.compile(r"[^\x21\x23\x24\x26-\x7e]+")
_NOT_IN_A_TOKEN = re.compile(r"[^A-Za-z0-9_-]+")


class Only(TypedDict):
    """Which events a relay sends; None is no condition."""

    category: list[str] | None
    types: list[str] | None


class Message(NamedTuple):
    """`subject` lacks the name of the stream in NATS, which comes before it."""

    place: Place
    subject: str
    headers: dict[str, str]
    body: bytes


def message(recorded: RecordedEvent, source: str) -> Message:
    """The message of an event that was read with its personal fields encrypted; `source` is `source_of_log()`."""
    place = recorded.place
    headers = {
        MESSAGE_ID: str(place.event_id),
        POSITION: str(place.position),
        "ce-specversion": SPECIFICATION,
        "ce-id": str(place.event_id),
        "ce-source": source,
        "ce-type": _header(recorded.type),
        "ce-subject": _header(recorded.stream),
        "ce-time": recorded.recorded_at.isoformat().replace("+00:00", "Z"),
        "ce-datacontenttype": CONTENT_TYPE,
    }
    return Message(place, subject(recorded.type), headers, msgspec.json.encode(document(recorded)))


def source_of_log() -> str:
    """The name of this log in the world: every copy of it has the same, and no other log."""
    return f"urn:uuid:{places.first_place().event_id}"


def document(recorded: RecordedEvent) -> dict[str, Any]:
    """The event's document, as in the feed, without the personal fields of its data."""
    shown = {name: getattr(recorded, name) for name in FIELDS if name not in ("data", "metadata")}
    return shown | {"data": _data(recorded), "metadata": msgspec.Raw(recorded.stored_metadata)}


def _data(recorded: RecordedEvent) -> Any:
    """An event that this code does not know may have personal fields too: what is encrypted is one of them."""
    kind = DomainEvent.types.get(recorded.type)
    personal = kind.personal if kind else ()
    if not personal and b'"sealed"' not in recorded.stored_data:
        return msgspec.Raw(recorded.stored_data)
    return {name: value for name, value in recorded.data.items() if name not in personal and not is_encrypted(value)}


@lru_cache(maxsize=1024)
def subject(type: str) -> str:
    """`<service>.<Event>` as two tokens of a NATS subject; imported types may have characters that these cannot."""
    service, _, name = type.partition(".")
    return f"{_token(service)}.{_token(name)}"


def _token(text: str) -> str:
    return _NOT_IN_A_TOKEN.sub(_percent, text) or "_"


def _header(text: str) -> str:
    return _NOT_IN_A_HEADER.sub(_percent, text)


def _percent(found: re.Match[str]) -> str:
    return "".join(f"%{byte:02X}" for byte in found[0].encode())
