"""Personal fields of events: encrypted as they are appended, readable while the person's data key exists.

An encrypted field stands in the log as `{"subject": <whose>, "sealed": <base64>}`: AES-256-GCM under
the person's data key, with the event id and the field's name as associated data. The nonce is derived
from the content (as in SIV, RFC 5297), so that an append repeated with its event ids is recognised.
"""

import hmac
from base64 import b64encode
from binascii import a2b_base64
from collections.abc import Collection, Sequence
from contextlib import suppress
from typing import Any
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from apps.eventlog.encryption import data_keys
from apps.eventlog.events import ERASED, DomainEvent, Payload, RecordedEvent, is_encrypted


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
    known = data_keys.find_or_make(set(subjects.values()))
    for number, subject in subjects.items():
        document, key = documents[number], known[subject]
        cipher = AESGCM(key)
        for field in events[number].personal:
            about = document["event_id"].bytes + field.encode()
            text = document["data"][field].encode()
            nonce = hmac.digest(key, about + b"\0" + text, "sha256")[: data_keys.NONCE]
            sealed = nonce + cipher.encrypt(nonce, text, about)
            document["data"][field] = {"subject": str(subject), "sealed": b64encode(sealed).decode()}


def reveal(events: list[RecordedEvent]) -> list[RecordedEvent]:
    """The events with their personal fields readable, or `[erased]` where the data key is gone.

    One query for all of them; a key is never kept longer, so an erasure is seen at once everywhere.
    What was tampered with stays as it is stored, and readers set it aside.
    """
    types = {type for type, known in DomainEvent.types.items() if known.personal}
    sealed = [(number, recorded.data) for number, recorded in enumerate(events) if recorded.type in types]
    subjects = {value["subject"] for _, data in sealed for value in data.values() if is_encrypted(value)}
    if not subjects:
        return events
    ciphers = _ciphers(subjects)
    events = list(events)
    for number, data in sealed:
        recorded = events[number]
        id = recorded.event_id.bytes
        for name, value in data.items():
            if is_encrypted(value):
                data[name] = _open(value, id + name.encode(), ciphers)
        events[number] = recorded.with_data(data)
    return events


def erases(recorded: RecordedEvent) -> bool:
    """Is this the end of what can be read about a person?"""
    known = DomainEvent.types.get(recorded.type)
    return known is not None and known.erases


def _ciphers(subjects: Collection[str]) -> dict[str, AESGCM]:
    ids = {}
    for subject in subjects:
        with suppress(ValueError):
            ids[UUID(subject)] = subject
    return {ids[id]: AESGCM(key) for id, key in data_keys.find(ids).items()}


def _open(value: Payload, about: bytes, ciphers: dict[str, AESGCM]) -> Any:
    cipher = ciphers.get(value["subject"])
    if cipher is None:
        return ERASED
    try:
        sealed = a2b_base64(value["sealed"])
        return cipher.decrypt(sealed[: data_keys.NONCE], sealed[data_keys.NONCE :], about).decode()
    except (InvalidTag, ValueError, TypeError):
        return value
