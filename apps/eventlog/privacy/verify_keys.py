"""Do the data keys and the log belong together? Keys that are missing, and keys that open nothing."""

import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from itertools import islice
from uuid import UUID

from apps.eventlog import store
from apps.eventlog.encryption import personal_fields
from apps.eventlog.encryption.data_keys import INSTALLATION, OWN
from apps.eventlog.encryption.models import PersonalKey
from apps.eventlog.models import Erasure, Reservation

BATCH = 500
NAMED = 10  # how many of the subjects are named


@dataclass
class Count:
    """How many subjects, and the first of them."""

    number: int = 0
    first: list[UUID] = field(default_factory=list)

    def add(self, subjects: Iterable[UUID]) -> None:
        for subject in subjects:
            self.number += 1
            if len(self.first) < NAMED:
                self.first.append(subject)


@dataclass
class Report:
    """`missing`: nobody was erased, and yet no key opens what the log has. `unneeded`: the key opens nothing.

    `untold`: the key was destroyed, and the log does not tell of an erasure: it is older than the keys.
    """

    missing: Count = field(default_factory=Count)
    unneeded: Count = field(default_factory=Count)
    untold: Count = field(default_factory=Count)


def verify_keys(progress: Callable[[int], None]) -> Report:
    """Compare the data keys with what the log has encrypted, in one pass over the log, in constant memory.

    The subjects are kept in a temporary file. `progress` takes the number of events done since its last call.
    Appends may go on: what is missing at the end of the pass is looked up again.
    """
    with closing(sqlite3.connect("")) as subjects:  # a temporary file, which nobody else can open
        subjects.execute("CREATE TABLE subject (id BLOB PRIMARY KEY, keyed INT, needed INT) WITHOUT ROWID")
        keys = PersonalKey.objects.filter(wrapped__isnull=False).exclude(subject__in=OWN)
        # The keys come first: a key that is made later belongs to an event that this pass may not read.
        for batch in _batches(keys.values_list("subject", flat=True).iterator()):
            subjects.executemany("INSERT INTO subject VALUES (?, 1, 0)", [(id.bytes,) for id in batch])
        needing = "INSERT INTO subject VALUES (?, 0, 1) ON CONFLICT DO UPDATE SET needed = 1"
        for batch in _batches(_needed(progress)):
            subjects.executemany(needing, [(id.bytes,) for id in batch])
        report = Report()
        report.unneeded.add(_ids(subjects, "keyed AND NOT needed"))
        for batch in _batches(_ids(subjects, "needed AND NOT keyed")):
            report.missing.add(_without_key(batch))
            report.untold.add(_without_erasure(batch))
    if Reservation.objects.exists():
        report.missing.add(_without_key([INSTALLATION]))
    return report


def _needed(progress: Callable[[int], None]) -> Iterator[UUID]:
    """Whose keys the events need, one event after the other."""
    for recorded in store.read_all(encrypted=True):
        yield from personal_fields.encrypted_subjects(recorded)
        progress(1)


def _ids(subjects: sqlite3.Connection, condition: str) -> Iterator[UUID]:
    for (id,) in subjects.execute(f"SELECT id FROM subject WHERE {condition} ORDER BY id"):  # noqa: S608
        yield UUID(bytes=id)


def _without_key(subjects: list[UUID]) -> list[UUID]:
    """Those that have no data key, and never had one that was destroyed by an erasure."""
    kept = set(PersonalKey.objects.filter(subject__in=subjects).values_list("subject", flat=True))
    erased = set(Erasure.objects.filter(subject__in=subjects).values_list("subject", flat=True))
    return [subject for subject in subjects if subject not in kept | erased]


def _without_erasure(subjects: list[UUID]) -> list[UUID]:
    """Those whose data key was destroyed, and who are not in the ledger."""
    destroyed = set(PersonalKey.objects.filter(subject__in=subjects, wrapped=None).values_list("subject", flat=True))
    told = set(Erasure.objects.filter(subject__in=destroyed).values_list("subject", flat=True))
    return [subject for subject in subjects if subject in destroyed - told]


def _batches(ids: Iterator[UUID]) -> Iterator[list[UUID]]:
    while batch := list(islice(ids, BATCH)):
        yield batch
