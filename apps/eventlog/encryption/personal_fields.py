"""Personal fields of events: encrypted when they are appended, readable while the person's data key exists.

In the log an encrypted field is `{"subject": <the person's id>, "sealed": <base64>}`: AES-256-GCM with the person's
data key; the event id and the name of the field are its associated data. The nonce is derived from the content (as in
SIV, RFC 5297). With a random nonce, an append that is repeated with its event ids would have another content.
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
from apps.eventlog.events import ERASED, DomainEvent, InvalidEvent, Payload, RecordedEvent, is_encrypted, named


def subject_of(stream: str, kind: type[DomainEvent], data: Payload) -> UUID:
    """The person whom the personal fields of an event are about: the id of the stream, or the field that it names.

    Raises `InvalidEvent` if that is no UUID.
    """
    text = data.get(kind.subject) if kind.subject else stream.partition("-")[2]
    try:
        return UUID(text)
    except (ValueError, TypeError, AttributeError):
        where = kind.subject or "stream"
        raise InvalidEvent(kind.type, where, "names the person of its personal fields by a UUID") from None


def conceal(stream: str, documents: Sequence[Payload], in_use: data_keys.InUse) -> None:
    """Encrypt the personal fields in the documents (`event_id`, `type`, `data`) of events that are to be stored.

    What is encrypted or erased already stays as it is. Makes and commits the data keys that are missing, unless
    `in_use` says that the log has something encrypted about the person. Raises `InvalidEvent`, `aggregates.Erased`,
    `data_keys.WrongKey` and `data_keys.MissingKey`.
    """
    clear = [(document, fields) for document in documents if (fields := _clear_fields(document))]
    subjects = {document["event_id"]: _subject(stream, document) for document, _ in clear}
    known = data_keys.find_or_make(set(subjects.values()), in_use) if subjects else {}
    for document, fields in clear:
        subject = subjects[document["event_id"]]
        for field in fields:
            about = document["event_id"].bytes + field.encode()
            sealed = _encrypt(known[subject], document["data"][field].encode(), about)
            document["data"][field] = {"subject": str(subject), "sealed": b64encode(sealed).decode()}


def _clear_fields(document: Payload) -> list[str]:
    kind, data = named(document["type"]), document["data"]
    fields = kind.personal if kind else ()
    return [field for field in fields if isinstance(data.get(field), str) and data[field] != ERASED]


def _subject(stream: str, document: Payload) -> UUID:
    kind = named(document["type"]) or DomainEvent
    return subject_of(stream, kind, document["data"])


def _encrypt(key: bytes, text: bytes, about: bytes) -> bytes:
    """The nonce follows from the content, so an append that is sent again is stored as the same bytes."""
    nonce = hmac.digest(key, about + b"\0" + text, "sha256")[: data_keys.NONCE]
    return nonce + AESGCM(key).encrypt(nonce, text, about)


def reveal(events: list[RecordedEvent], *, keys_required: bool = False) -> list[RecordedEvent]:
    """The events with readable personal fields, which are `[erased]` if the data key is destroyed.

    One query finds the keys for all events. No key is remembered for reading, so every process sees an erasure at
    once. A field that cannot be decrypted, because somebody changed it, stays as it is stored; then readers cannot
    decode the event and set it aside. With `keys_required`, raises `data_keys.MissingKey` if a key is gone without an
    erasure.
    """
    types = {type for type, known in DomainEvent.types.items() if known.personal}
    sealed = [(number, recorded.data) for number, recorded in enumerate(events) if recorded.type in types]
    subjects = {value["subject"] for _, data in sealed for value in data.values() if is_encrypted(value)}
    if not subjects:
        return events
    ciphers = _ciphers(subjects)
    if keys_required and len(ciphers) < len(subjects) and not any(map(erases, events)):
        data_keys.require(_ids(subjects))
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
    """True if nothing about the person can be read after this event."""
    known = DomainEvent.types.get(recorded.type)
    return known is not None and known.erases


def encrypted_subjects(recorded: RecordedEvent) -> set[UUID]:
    """Whose data keys open the fields of an event as it is stored, also if this code does not know the event."""
    if b'"sealed"' not in recorded.stored_data:
        return set()
    return set(_ids({value["subject"] for value in recorded.data.values() if is_encrypted(value)}))


def _ciphers(subjects: Collection[str]) -> dict[str, AESGCM]:
    ids = _ids(subjects)
    return {ids[id]: AESGCM(key) for id, key in data_keys.find(ids).items()}


def _ids(subjects: Collection[str]) -> dict[UUID, str]:
    """The ids among the subjects; what is no id was tampered with, and no key opens it."""
    ids = {}
    for subject in subjects:
        with suppress(ValueError):
            ids[UUID(subject)] = subject
    return ids


def _open(value: Payload, about: bytes, ciphers: dict[str, AESGCM]) -> Any:
    cipher = ciphers.get(value["subject"])
    if cipher is None:
        return ERASED
    try:
        sealed = a2b_base64(value["sealed"])
        return cipher.decrypt(sealed[: data_keys.NONCE], sealed[data_keys.NONCE :], about).decode()
    except (InvalidTag, ValueError, TypeError):
        return value
