"""Data keys: each person has one, for the personal fields of events. If it is destroyed, nobody can read those fields.

Data keys have a database of their own; they are never in the log. Each is wrapped (AES-256-GCM) by the key-encryption
key, which comes from the environment and is in no database.

A key that is missing is never replaced if something is encrypted by it. The new key could not open that, and once the
old key is back from a backup, it could not open what came later.
"""

import hashlib
import os
import time
from collections.abc import Callable, Collection
from typing import Any
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from django.conf import settings
from django.db import connections
from django.db.models import F, QuerySet
from django.utils import timezone

from apps.eventlog.aggregates import Erased
from apps.eventlog.database import statements
from apps.eventlog.encryption.models import PersonalKey
from apps.eventlog.errors.texts import Impersonal
from apps.eventlog.models import Erasure

ALIAS = "keys"

NONCE = 12  # bytes, as NIST SP 800-38D recommends for GCM
REWRAP = 1000  # keys in a batch
# Keys of this installation, which belong to no person: of its keyed hashes, and of the secrets of its webhooks.
INSTALLATION, WEBHOOKS = UUID(int=0), UUID(int=1)
OWN = (INSTALLATION, WEBHOOKS)
RECENT, MOMENT = 1000, 5.0  # how many keys this process remembers for further appends, and for how many seconds

_TABLE = PersonalKey._meta.db_table
COUNT_DESTROYED = f"SELECT count(*) FROM {_TABLE} WHERE wrapped_by = '' AND wrapped IS NULL"  # noqa: S608  (by the index)
WRAPPED_BY = f"SELECT DISTINCT wrapped_by FROM {_TABLE} WHERE wrapped IS NOT NULL"  # noqa: S608

InUse = Callable[[UUID], bool]

_recent: dict[UUID, tuple[float, bytes]] = {}  # threads share it; each reads and writes it in single steps


class WrongKey(Impersonal):
    """The data keys were wrapped by a key-encryption key that this process does not have."""


class MissingKey(Impersonal):
    """Something is encrypted by a data key that is not there: an older backup was restored, or keys were not moved."""

    def __init__(self, subject: UUID) -> None:
        whose = "this installation" if subject in OWN else str(subject)
        super().__init__(
            f"the data key of {whose} is missing, and something is encrypted by it: the operators of this service "
            "have to restore it from a backup"
        )


def find(subjects: Collection[UUID]) -> dict[UUID, bytes]:
    """The data keys (32 bytes) of the subjects, without those who have none; raises `WrongKey`."""
    if not subjects:
        return {}
    known = f"SELECT subject, wrapped, wrapped_by FROM {{table}} WHERE subject IN {statements.marks(subjects)}"  # noqa: S608
    rows = _run(f"{known} AND wrapped IS NOT NULL", *subjects)
    wrappers = _wrappers()
    return {subject: _unwrap(subject, wrapped, by, wrappers) for subject, wrapped, by in rows}


def is_empty() -> bool:
    """Is there no data key, or not even a table for them yet?"""
    there = PersonalKey._meta.db_table in connections[ALIAS].introspection.table_names()
    return not (there and PersonalKey.objects.exists())


def destroyed() -> int:
    """How many data keys were destroyed. None of them comes back, so the number never falls."""
    return statements.rows(ALIAS, COUNT_DESTROYED)[0][0]


def names() -> set[str]:
    """The names of the key-encryption keys that this process has."""
    return set(_wrappers())


def require(subjects: Collection[UUID]) -> None:
    """Raise `MissingKey` if one of the subjects has no data key and was not erased."""
    for subject in set(subjects) - set(find(subjects)):
        if not is_known(subject) and not Erasure.objects.filter(subject=subject).exists():
            raise MissingKey(subject)


def is_known(subject: UUID) -> bool:
    """Is there a data key of the subject, or was there one until it was destroyed?"""
    return PersonalKey.objects.filter(subject=subject).exists()


def find_or_make(subjects: Collection[UUID], in_use: InUse) -> dict[UUID, bytes]:
    """The data keys of the subjects, made and committed where missing; to encrypt with, not to read.

    `in_use` says if something is encrypted by the key of a subject; it is asked only if the key is missing.
    They are remembered for a moment: what is encrypted under a key that was destroyed meanwhile
    cannot be read, as it should be. Raises `aggregates.Erased`, `WrongKey` and `MissingKey`.
    """
    now = time.monotonic()
    # One look at each: another thread may forget a key at any moment.
    remembered = {subject: _recent.get(subject, (0.0, b"")) for subject in subjects}
    known = {subject: key for subject, (until, key) in remembered.items() if until > now}
    if unknown := set(subjects) - set(known):
        found = find(unknown)
        found |= {subject: _make(subject, in_use) for subject in unknown - set(found)}
        if len(_recent) > RECENT:
            _recent.clear()
        _recent.update({subject: (now + MOMENT, key) for subject, key in found.items()})
        known |= found
    return known


# The guard against REPLACE would take the INSERT of a key that is there for one, even if it is to do nothing.
INSERT = """
INSERT INTO {table} (subject, wrapped, wrapped_by, rewraps)
SELECT %s, %s, %s, 0 WHERE NOT EXISTS (SELECT 1 FROM {table} WHERE subject = %s)
ON CONFLICT DO NOTHING RETURNING subject, wrapped, wrapped_by
"""


def _make(subject: UUID, in_use: InUse) -> bytes:
    # Asked in this order: another process that has made the key by now did so before it encrypted anything.
    if in_use(subject) and not is_known(subject):
        raise MissingKey(subject)
    key = AESGCM.generate_key(256)
    if _run(INSERT, subject, *_wrap(subject, key), subject):
        return key
    found = find([subject])  # somebody else made the key first, or there was one that is destroyed
    if not found:
        raise Erased("the person was erased")
    return found[subject]


def _run(query: str, *parameters: Any) -> list[tuple[UUID, bytes, str]]:
    """Rows of the key table. Each append and each page asks for keys; models would take several times longer."""
    connection, prepare = connections[ALIAS], PersonalKey._meta.pk.get_db_prep_value
    values = [prepare(value, connection) if isinstance(value, UUID) else value for value in parameters]
    rows = statements.rows(ALIAS, query.format(table=PersonalKey._meta.db_table), values)
    return [(row[0] if isinstance(row[0], UUID) else UUID(row[0]), row[1], row[2]) for row in rows]


def installation_key(in_use: Callable[[], bool]) -> bytes:
    """The key (32 bytes) for the keyed hashes that this installation stores. It belongs to no person.

    It is made if it is missing and `in_use` says that there are no such hashes. Raises `WrongKey` and `MissingKey`.
    """
    return own_key(INSTALLATION, in_use)


def own_key(subject: UUID, in_use: Callable[[], bool]) -> bytes:
    """One of the `OWN` keys (32 bytes), made if it is missing and nothing was made by it yet, which `in_use` tells.

    Raises `WrongKey` and `MissingKey`.
    """
    try:
        return find_or_make([subject], lambda _: in_use())[subject]
    except Erased:  # somebody has destroyed it; it is nobody's, so nobody was erased
        raise MissingKey(subject) from None


def destroy(subject: UUID) -> None:
    """Destroy the data key of a subject for ever. Its row stays and says only that there was a key."""
    _recent.pop(subject, None)
    PersonalKey.objects.update_or_create(
        subject=subject, defaults={"wrapped": None, "wrapped_by": "", "destroyed_at": timezone.now()}
    )


def rewrap(progress: Callable[[int], None]) -> int:
    """Wrap every data key by the current key-encryption key; returns how many another one wrapped. Safe to repeat."""
    count, wrappers = 0, _wrappers()
    while batch := list(to_rewrap()[:REWRAP]):
        for row in batch:
            key = _unwrap(row.subject, row.wrapped, row.wrapped_by, wrappers)
            wrapped, by = _wrap(row.subject, key)
            # Only if the key was not destroyed in the meantime.
            to_rewrap().filter(pk=row.pk).update(wrapped=wrapped, wrapped_by=by, rewraps=F("rewraps") + 1)
        count += len(batch)
        progress(len(batch))
    return count


def to_rewrap() -> QuerySet[PersonalKey]:
    """The data keys that are not wrapped by the current key-encryption key."""
    current = _name(settings.KEY_ENCRYPTION_KEY)
    return PersonalKey.objects.filter(wrapped__isnull=False).exclude(wrapped_by=current)


def unlock() -> None:
    """Raise `WrongKey` unless this process can unwrap the data keys; it tries one for each key-encryption key."""
    kept = PersonalKey.objects.filter(wrapped__isnull=False).order_by("wrapped_by")
    name: str | None = ""
    while name is not None:
        row = kept.filter(wrapped_by__gt=name).first()  # by the index
        if row:
            _unwrap(row.subject, row.wrapped, row.wrapped_by, _wrappers())
        name = row.wrapped_by if row else None


def _wrap(subject: UUID, key: bytes) -> tuple[bytes, str]:
    """A data key wrapped by the current key-encryption key, and the name of that."""
    nonce = os.urandom(NONCE)
    wrapped = AESGCM(settings.KEY_ENCRYPTION_KEY).encrypt(nonce, key, subject.bytes)
    return nonce + wrapped, _name(settings.KEY_ENCRYPTION_KEY)


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
    """A name for a key-encryption key, from which nobody can find the key."""
    return hashlib.sha256(b"headrace key-encryption key" + key).hexdigest()[:16]
