"""Personal fields of events: encrypted as they are appended, readable while the person's data key exists.

An encrypted field stands in the log as `{"subject": <whose>, "sealed": <base64>}`: AES-256-GCM under
the person's data key, with the event id and the field's name as associated data. The nonce is derived
from the content (as in SIV, RFC 5297), so that an append repeated with its event ids is recognised.
"""

import hmac
from collections.abc import Sequence
from contextlib import suppress
from uuid import UUID

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from apps.eventlog import keys
from apps.eventlog.events import DomainEvent, Payload, RecordedEvent

ERASED = "[erased]"


class Sealed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A personal field as it is stored: whose it is, and nonce and ciphertext, in JSON as base64."""

    subject: UUID
    sealed: bytes


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
            sealed = Sealed(subject, nonce + AESGCM(key).encrypt(nonce, text, about))
            document["data"][field] = msgspec.to_builtins(sealed)


def reveal(events: list[RecordedEvent]) -> list[RecordedEvent]:
    """The events with their personal fields readable, or `[erased]` where the data key is gone.

    One query for all of them; a key is never kept longer, so an erasure is seen at once everywhere.
    """
    types = {type for type, known in DomainEvent.types.items() if known.personal}
    sealed = [
        (number, data, fields)
        for number, recorded in enumerate(events)
        if recorded.type in types and (fields := _sealed(data := recorded.data))
    ]
    if not sealed:
        return events
    known = keys.find({value.subject for _, _, fields in sealed for value in fields.values()})
    ciphers = {subject: AESGCM(key) for subject, key in known.items()}
    events = list(events)
    for number, data, fields in sealed:
        id = events[number].event_id.bytes
        for name, value in fields.items():
            with suppress(InvalidTag):  # tampered with: it stays as it is, and readers set it aside
                data[name] = _open(value, id + name.encode(), ciphers.get(value.subject))
        events[number] = msgspec.structs.replace(events[number], _data=msgspec.Raw(msgspec.json.encode(data)))
    return events


def erases(recorded: RecordedEvent) -> bool:
    """Is this the end of what can be read about a person?"""
    known = DomainEvent.types.get(recorded.type)
    return known is not None and known.erases


def _sealed(data: Payload) -> dict[str, Sealed]:
    """The fields of a stored payload that are encrypted."""
    found = {}
    for name, value in data.items():
        if isinstance(value, dict):
            with suppress(msgspec.ValidationError):
                found[name] = msgspec.convert(value, Sealed)
    return found


def _open(value: Sealed, about: bytes, cipher: AESGCM | None) -> str:
    if cipher is None:
        return ERASED
    return cipher.decrypt(value.sealed[: keys.NONCE], value.sealed[keys.NONCE :], about).decode()
