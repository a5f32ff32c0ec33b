"""Personal fields of events: encrypted as they are appended, readable while the person's data key exists.

An encrypted field stands in the log as `{"subject": <whose>, "sealed": <base64>}`: AES-256-GCM under
the person's data key, with the event id and the field's name as associated data. The nonce is derived
from the content (as in SIV, RFC 5297), so that an append repeated with its event ids is recognised.
"""

import hmac
from base64 import b64decode, b64encode
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from apps.eventlog import keys
from apps.eventlog.events import DomainEvent, Payload, RecordedEvent

ERASED = "[erased]"
SEALED = {"subject", "sealed"}


def subject_of(stream: str, event: DomainEvent) -> UUID:
    """Whose the personal fields of an event are: of the stream's own id, or of the field it names."""
    return getattr(event, event.subject) if event.subject else UUID(stream.partition("-")[2])


def conceal(stream: str, events: Sequence[DomainEvent], documents: list[Payload]) -> None:
    """Encrypt the personal fields in the documents of events that are about to be appended.

    Makes and commits the data keys that are missing; raises `aggregates.Erased` and `keys.WrongKey`.
    """
    subjects = {number: subject_of(stream, event) for number, event in enumerate(events) if event.personal}
    if not subjects:
        return
    known = keys.find_or_make(set(subjects.values()))
    for number, subject in subjects.items():
        document, key = documents[number], known[subject]
        for field in events[number].personal:
            about = document["event_id"].bytes + field.encode()
            text = document["data"][field].encode()
            nonce = hmac.digest(key, about + b"\0" + text, "sha256")[: keys.NONCE]
            sealed = b64encode(nonce + AESGCM(key).encrypt(nonce, text, about)).decode()
            document["data"][field] = {"subject": str(subject), "sealed": sealed}


def reveal(events: list[RecordedEvent]) -> list[RecordedEvent]:
    """The events with their personal fields readable, or `[erased]` where the data key is gone.

    One query for all of them; a key is never kept longer, so an erasure is seen at once everywhere.
    """
    sealed = {number: _sealed(recorded) for number, recorded in enumerate(events) if _may_hold(recorded.type)}
    subjects = {UUID(value["subject"]) for fields in sealed.values() for value in fields.values()}
    if not subjects:
        return events
    known = keys.find(subjects)
    ciphers = {str(subject): AESGCM(key) for subject, key in known.items()}
    events = list(events)
    for number, fields in sealed.items():
        recorded = events[number]
        plain = {name: _open(recorded.event_id, name, value, ciphers) for name, value in fields.items()}
        data = msgspec.json.encode(recorded.data | plain)
        events[number] = msgspec.structs.replace(recorded, _data=msgspec.Raw(data))
    return events


def erases(recorded: RecordedEvent) -> bool:
    """Is this the end of what can be read about a person?"""
    known = DomainEvent.types.get(recorded.type)
    return known is not None and known.erases


def _may_hold(type: str) -> bool:
    known = DomainEvent.types.get(type)
    return known is not None and bool(known.personal)


def _sealed(recorded: RecordedEvent) -> Payload:
    return {name: value for name, value in recorded.data.items() if isinstance(value, dict) and value.keys() == SEALED}


def _open(event_id: UUID, field: str, value: Payload, ciphers: dict[str, AESGCM]) -> Any:
    cipher, sealed = ciphers.get(value["subject"]), b64decode(value["sealed"])
    if cipher is None:
        return ERASED
    try:
        return cipher.decrypt(sealed[: keys.NONCE], sealed[keys.NONCE :], event_id.bytes + field.encode()).decode()
    except InvalidTag:
        return value  # tampered with: it does not fit the event, whose readers set it aside
