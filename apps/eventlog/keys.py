"""Data keys: one a person, for the personal fields of events; once it is destroyed, they are unreadable everywhere.

They live in the table that the setting PERSONAL_KEYS names, never in the log. There each is wrapped
(AES-256-GCM) by the key-encryption key, which comes from the environment and is in no database.
"""

import hashlib
import os
import time
from collections.abc import Callable, Collection
from typing import Any
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
RECENT, MOMENT = 1000, 5.0  # how many keys are remembered for further appends, and for how many seconds

_recent: dict[UUID, tuple[float, bytes]] = {}


class WrongKey(Exception):
    """The data keys were wrapped by a key-encryption key that this process does not have."""


def find(subjects: Collection[UUID]) -> dict[UUID, bytes]:
    """The data keys (32 bytes) of those of the subjects who have one; raises `WrongKey`."""
    rows = key_model().objects.filter(subject__in=subjects, wrapped__isnull=False)
    wrappers = _wrappers()
    return {
        subject: _unwrap(subject, wrapped, by, wrappers)
        for subject, wrapped, by in rows.values_list("subject", "wrapped", "wrapped_by")
    }


def find_or_make(subjects: Collection[UUID]) -> dict[UUID, bytes]:
    """The data keys of the subjects, made and committed where missing; to encrypt with, not to read.

    They are remembered for a moment: what is encrypted under a key that was destroyed meanwhile
    cannot be read, as it should be. Raises `aggregates.Erased` and `WrongKey`.
    """
    now = time.monotonic()
    known = {subject: _recent[subject][1] for subject in subjects if _recent.get(subject, (0.0,))[0] > now}
    if unknown := set(subjects) - set(known):
        found = find(unknown)
        if missing := unknown - set(found):
            new = [_wrap(key_model()(subject=subject), AESGCM.generate_key(256)) for subject in missing]
            key_model().objects.bulk_create(new, ignore_conflicts=True)
            found |= find(missing)  # another may have been faster
        if len(found) < len(unknown):
            raise Erased("the person was erased")
        if len(_recent) > RECENT:
            _recent.clear()
        _recent.update({subject: (now + MOMENT, key) for subject, key in found.items()})
        known |= found
    return known


def installation_key() -> bytes:
    """The key (32 bytes) of no person: of the keyed hashes that this installation keeps."""
    return find_or_make([INSTALLATION])[INSTALLATION]


def destroy(subject: UUID) -> None:
    """Destroy the data key of a subject, for good: what stays says only that there was one."""
    _recent.pop(subject, None)
    key_model().objects.update_or_create(
        subject=subject, defaults={"wrapped": None, "wrapped_by": "", "destroyed_at": timezone.now()}
    )


def rewrap(progress: Callable[[int], None]) -> int:
    """Wrap every data key by the current key-encryption key; returns how many were not. Safe to run again."""
    count, wrappers = 0, _wrappers()
    while batch := list(to_rewrap()[:REWRAP]):
        for row in batch:
            rewrapped = _wrap(row, _unwrap(row.subject, row.wrapped, row.wrapped_by, wrappers))
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
            _unwrap(row.subject, row.wrapped, row.wrapped_by, _wrappers())
        name = row.wrapped_by if row else None


def key_model() -> type[PersonalKey]:
    return apps.get_model(settings.PERSONAL_KEYS)


def _wrap(row: PersonalKey, key: bytes) -> PersonalKey:
    nonce = os.urandom(NONCE)
    row.wrapped = nonce + AESGCM(settings.KEY_ENCRYPTION_KEY).encrypt(nonce, key, row.subject.bytes)
    row.wrapped_by = _name(settings.KEY_ENCRYPTION_KEY)
    return row


def _wrappers() -> dict[str, AESGCM]:
    """The key-encryption keys that this process has, by name."""
    return {_name(key): AESGCM(key) for key in (*settings.PREVIOUS_KEY_ENCRYPTION_KEYS, settings.KEY_ENCRYPTION_KEY)}


def _unwrap(subject: UUID, wrapped: Any, by: str, wrappers: dict[str, AESGCM]) -> bytes:
    if by not in wrappers:
        raise WrongKey(
            f"the data keys of personal fields are wrapped by key-encryption key {by}, which this process does not "
            f"have (it has {', '.join(wrappers)}): set KEY_ENCRYPTION_KEY to it"
        )
    try:
        return wrappers[by].decrypt(bytes(wrapped[:NONCE]), bytes(wrapped[NONCE:]), subject.bytes)
    except InvalidTag as error:
        raise WrongKey(f"the data key of {subject} is damaged: restore it from a backup") from error


def _name(key: bytes) -> str:
    """How a key-encryption key is told from others, without telling what it is."""
    return hashlib.sha256(b"headrace key-encryption key" + key).hexdigest()[:16]
