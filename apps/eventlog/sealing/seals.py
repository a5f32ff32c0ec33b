"""Seals over the log: each has the Merkle root of a batch of events and continues the seal before it."""

import logging
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from hashlib import sha256
from itertools import pairwise
from typing import Any

import msgspec
from django.db import IntegrityError
from django.utils import timezone

from apps.eventlog import store
from apps.eventlog.models import Seal
from apps.eventlog.sealing import canonical_form, merkle_tree, signatures, stored_rows
from apps.eventlog.sealing.stored_rows import Leaf

BATCH = 1000  # events in a seal, at most
INTERVAL = 1.0  # seconds between two seals that are not full
STOPPED = 60.0  # seconds to the next try if an event cannot be read
FORM = 1  # the version of what a digest covers, in case that ever changes

logger = logging.getLogger(__name__)


class Anchor(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A seal without its leaves, as it is exported to be kept where nobody can change it."""

    number: int
    after: int
    until: int
    gaps: list[tuple[int, int]]
    events: int
    root: str
    previous: str
    sealed_at: datetime
    digest: str
    signature: str


# The first seal continues this.
GENESIS = Anchor(0, 0, 0, [], 0, "", "0" * 64, datetime.min.replace(tzinfo=UTC), "0" * 64, "")
_CONTENT = ("number", "after", "until", "gaps", "events", "root", "previous", "sealed_at")


class Unreadable(Exception):
    """A stored event cannot be read, so it cannot be sealed: somebody has changed it."""


def seal_next() -> int:
    """Seal the next batch of events up to the safe position; returns how many, at most `BATCH`.

    No append waits for this. If another sealer is faster, its seal counts: the table accepts only one that continues
    the last. Raises `Unreadable`.
    """
    last = Seal.objects.defer("leaves").order_by("number").last() or GENESIS
    leaves = stored_rows.leaves(after=last.until, end=store.safe_position(), limit=BATCH)
    if not leaves:
        return 0
    seal = _seal(last, leaves)
    try:
        seal.save(force_insert=True)
    except IntegrityError:
        if not Seal.objects.filter(number=seal.number).exists():
            raise
    return len(leaves)


def _seal(last: Seal | Anchor, leaves: Sequence[Leaf]) -> Seal:
    for leaf in leaves:
        if not leaf.hash:
            raise Unreadable(f"the event at position {leaf.position} cannot be read; see verify_log")
    hashes = [leaf.hash for leaf in leaves]
    positions = [last.until, *[leaf.position for leaf in leaves]]
    pairs = pairwise(positions)
    seal = Seal(
        number=last.number + 1,
        after=last.until,
        until=positions[-1],
        gaps=[(before + 1, position - 1) for before, position in pairs if position > before + 1],
        events=len(leaves),
        root=merkle_tree.root(hashes).hex(),
        previous=last.digest,
        sealed_at=timezone.now(),
        leaves=b"".join(hashes),
    )
    seal.digest = digest(seal)
    seal.signature = signatures.sign(bytes.fromhex(seal.digest))
    return seal


def digest(seal: Seal | Anchor) -> str:
    """SHA-256 over the canonical JSON of what a seal says. That includes the digest of the seal before it."""
    content: dict[str, Any] = {name: getattr(seal, name) for name in _CONTENT}
    return sha256(canonical_form.encode(content | {"form": FORM})).hexdigest()


def anchor(seal: Seal) -> Anchor:
    return Anchor(**{name: getattr(seal, name) for name in Anchor.__struct_fields__})


def unsealed() -> int:
    """How many events are not sealed yet."""
    last = Seal.objects.order_by("number").values_list("until", flat=True).last() or 0
    return store.find(position__gt=last).count()


class Sealer:
    """Seals in the loop of a worker: one batch after another while there is a backlog, then one each `INTERVAL`."""

    def __init__(self) -> None:
        self.due = 0.0

    def tick(self) -> bool:
        """Seal if the time has come; True if more events wait to be sealed."""
        now = time.monotonic()
        if now < self.due:
            return False
        try:
            if seal_next() == BATCH:
                return True
            self.due = now + INTERVAL
        except Unreadable as error:
            logger.error("Sealing has stopped: %s", error)
            self.due = now + STOPPED
        return False
