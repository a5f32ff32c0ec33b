"""Data keys: one a person, for the personal fields of events; once it is destroyed, they are unreadable everywhere.

They live in the table that the setting PERSONAL_KEYS names, never in the log. There each is wrapped
(AES-256-GCM) by the key-encryption key, which comes from the environment and is in no database.
"""

import hashlib
import os
from collections.abc import Callable, Collection
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from django.apps import apps
from django.conf import settings
from django.db.models import QuerySet
from django.utils import timezone

from apps.eventlog.aggregates import Erased
from apps.eventlog.models import PersonalKey

NONCE = 12  # bytes, as NIST SP 800-38D recommends for GCM
REWRAP = 1000  # keys a batch
INSTALLATION = UUID(int=0)


class WrongKey(Exception):
    """The data keys were wrapped by a key-encryption key that this process does not have."""


def find(subjects: Collection[UUID]) -> dict[UUID, bytes]:
    """The data keys (32 bytes) of those of the subjects who have one; raises `WrongKey`."""
    rows = key_model().objects.filter(subject__in=subjects, wrapped__isnull=False)
    return {row.subject: _unwrap(row) for row in rows}


def find_or_make(subjects: Collection[UUID]) -> dict[UUID, bytes]:
    """The data keys of the subjects, made and committed where missing; raises `aggregates.Erased` and `WrongKey`."""
    keys = find(subjects)
    missing = set(subjects) - set(keys)
    if missing:
        new = [_wrap(key_model()(subject=subject), AESGCM.generate_key(256)) for subject in missing]
        key_model().objects.bulk_create(new, ignore_conflicts=True)
        keys |= find(missing)  # another may have been faster
    if len(keys) < len(set(subjects)):
        raise Erased("the person was erased")
    return keys


def installation_key() -> bytes:
    """The key (32 bytes) of no person: of the keyed hashes that this installation keeps."""
    return find_or_make([INSTALLATION])[INSTALLATION]


def destroy(subject: UUID) -> None:
    """Destroy the data key of a subject, for good: what stays says only that there was one."""
    key_model().objects.update_or_create(
        subject=subject, defaults={"wrapped": None, "wrapped_by": "", "destroyed_at": timezone.now()}
    )


def rewrap(progress: Callable[[int], None]) -> int:
    """Wrap every data key by the current key-encryption key; returns how many were not. Safe to run again."""
    count = 0
    while batch := list(to_rewrap()[:REWRAP]):
        for row in batch:
            rewrapped = _wrap(row, _unwrap(row))
            # Not where the key was destroyed in this moment.
            to_rewrap().filter(pk=row.pk).update(wrapped=rewrapped.wrapped, wrapped_by=rewrapped.wrapped_by)
        count += len(batch)
        progress(len(batch))
    return count


def to_rewrap() -> QuerySet[PersonalKey]:
    """The data keys that another key-encryption key than the current one wraps."""
    current = _name(settings.KEY_ENCRYPTION_KEY)
    return key_model().objects.filter(wrapped__isnull=False).exclude(wrapped_by=current)


def unlock() -> None:
    """Raise `WrongKey` unless this process can unwrap the data keys there are."""
    kept = key_model().objects.filter(wrapped__isnull=False).order_by("wrapped_by")
    name: str | None = ""
    while name is not None:
        row = kept.filter(wrapped_by__gt=name).first()  # one of each key-encryption key, by the index
        if row:
            _unwrap(row)
        name = row.wrapped_by if row else None


def key_model() -> type[PersonalKey]:
    return apps.get_model(settings.PERSONAL_KEYS)


def _wrap(row: PersonalKey, key: bytes) -> PersonalKey:
    nonce = os.urandom(NONCE)
    row.wrapped = nonce + AESGCM(settings.KEY_ENCRYPTION_KEY).encrypt(nonce, key, row.subject.bytes)
    row.wrapped_by = _name(settings.KEY_ENCRYPTION_KEY)
    return row


def _unwrap(row: PersonalKey) -> bytes:
    known = {_name(key): key for key in (*settings.PREVIOUS_KEY_ENCRYPTION_KEYS, settings.KEY_ENCRYPTION_KEY)}
    if row.wrapped is None or row.wrapped_by not in known:
        raise WrongKey(
            f"the data keys of personal fields are wrapped by key-encryption key {row.wrapped_by}, which this process "
            f"does not have (it has {', '.join(known)}): set KEY_ENCRYPTION_KEY to it"
        )
    wrapped = bytes(row.wrapped)
    try:
        return AESGCM(known[row.wrapped_by]).decrypt(wrapped[:NONCE], wrapped[NONCE:], row.subject.bytes)
    except InvalidTag as error:
        raise WrongKey(f"the data key of {row.subject} is damaged: restore it from a backup") from error


def _name(key: bytes) -> str:
    """How a key-encryption key is told from others, without telling what it is."""
    return hashlib.sha256(b"headrace key-encryption key" + key).hexdigest()[:16]
