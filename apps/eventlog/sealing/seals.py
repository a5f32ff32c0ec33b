"""Seals over the log: each has the Merkle root of a batch of events and continues the seal before it."""

import math
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from hashlib import sha256
from itertools import pairwise
from typing import Any, ClassVar

import msgspec
from django.db import DatabaseError, IntegrityError, connections
from django.utils import timezone

from apps.eventlog import store
from apps.eventlog.database import statements
from apps.eventlog.errors.texts import Impersonal
from apps.eventlog.models import Seal
from apps.eventlog.sealing import canonical_form, leaves, merkle_tree, signatures
from apps.eventlog.sealing.leaves import Leaf

BATCH = 1000  # events in a seal, at most
INTERVAL = 1.0  # seconds between two seals that are not full
FORM = 1  # the version of what a digest covers, in case that ever changes
NOT_YET, NOT_ALLOWED = "55000", "42501"  # PostgreSQL's codes: beyond the safe position; no right to the function


class Anchor(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
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
    reason: str = ""  # of a seal that begins a new chain


# The first seal continues this.
GENESIS = Anchor(0, 0, 0, [], 0, "", "0" * 64, datetime.min.replace(tzinfo=UTC), "0" * 64, "")
_CONTENT = ("number", "after", "until", "gaps", "events", "root", "previous", "sealed_at")


class CannotSeal(Impersonal):
    """Sealing stops here; `pause` is how many seconds a worker waits until it tries again."""

    pause: ClassVar[float] = 60.0


class Unreadable(CannotSeal):
    """A stored event cannot be read, so it cannot be sealed: somebody has changed it."""


class BeyondTheLog(CannotSeal):
    """The last seal reaches further than the log: the log went back, or somebody forged the seal."""


class OfAnotherLog(CannotSeal):
    """The last seal ends with an event that the log has not: the log went back, or somebody has changed the event."""


OF_ANOTHER_LOG = (BeyondTheLog, OfAnotherLog)


class NotNeeded(CannotSeal):
    """A new chain of seals cannot begin here."""


class NotAllowed(CannotSeal):
    """The role of this process may not seal."""

    pause = math.inf


def seal_next() -> int:
    """Seal the next batch of events up to the safe position; returns how many, at most `BATCH`.

    No append waits for this. If another sealer is faster, its seal counts: the table accepts only one that continues
    the last. Raises one of `CannotSeal`.
    """
    last = Seal.objects.order_by("number").last() or GENESIS
    batch = _batch_after(last, BATCH)
    return len(batch) if batch and _write(_seal(last, batch)) else 0


def begin_new_chain(reason: str) -> int:
    """Begin a new chain of seals at the beginning of the log; returns how many events its first seal covers.

    The reason is recorded in that seal. Raises `NotNeeded` unless the last seal is over events that are not in the log,
    and one of `CannotSeal`.
    """
    if not went_back():
        raise NotNeeded("the last seal is over events of this log, so no new chain may begin")
    last = Seal.objects.defer("leaves").order_by("number").last() or GENESIS
    batch = leaves.leaves(after=0, end=store.safe_position(), limit=BATCH)
    if not batch:
        raise NotNeeded("the log has no event that could be sealed")
    return len(batch) if _write(_seal(last, batch, reason)) else 0


def _batch_after(last: Seal | Anchor, limit: int) -> list[Leaf]:
    """A number of leaves that follow a seal. Raises `BeyondTheLog` and `OfAnotherLog`."""
    if last.until > (head := store.head()):
        raise BeyondTheLog(
            f"seal {last.number} reaches position {last.until}, but the log ends at {head}; see verify_log"
        )
    # With the last event of the seal, read by the same statement, so that all are of one log.
    end = max(last.until, store.safe_position())  # a writer's mark may hold it back for a moment
    batch = leaves.leaves(after=last.until - 1, end=end, limit=limit + 1)
    if isinstance(last, Anchor):
        return batch[:limit]
    if not batch or batch[0] != Leaf(last.until, bytes(last.leaves)[-32:]):
        raise OfAnotherLog(
            f"the log went back: seal {last.number} ends with another event at position {last.until} than the log"
            " has there; see verify_log"
        )
    return batch[1:]


def last_position() -> int:
    """The position up to which the log is sealed."""
    return Seal.objects.order_by("number").values_list("until", flat=True).last() or 0


def sealed_at() -> datetime | None:
    """When the last seal was made; None if there is none."""
    return Seal.objects.order_by("number").values_list("sealed_at", flat=True).last()


def first_of_chain(until: int | None = None) -> int:
    """The number of the seal with which the chain began that holds now, or at a seal by number."""
    begun = Seal.objects.exclude(reason="").order_by("number")
    begun = begun if until is None else begun.filter(number__lte=until)
    return begun.values_list("number", flat=True).last() or 1


def went_back() -> bool:
    """Is the last seal over events that are not in the log?"""
    try:
        if last := Seal.objects.order_by("number").last():
            _batch_after(last, 0)
    except OF_ANOTHER_LOG:
        return True
    return False


def _write(seal: Seal) -> bool:
    """Write a seal, unless another sealer has; returns False where a writer holds the safe position back again."""
    try:
        _insert(seal)
    except DatabaseError as error:
        state = getattr(error.__cause__, "sqlstate", None)
        if state == NOT_ALLOWED:
            raise NotAllowed("the role of this process may not seal: the sealer's role does") from error
        if state == NOT_YET:
            return False
        if not isinstance(error, IntegrityError) or not Seal.objects.filter(number=seal.number).exists():
            raise
    return True


def _insert(seal: Seal) -> None:
    if connections[store.ALIAS].vendor != "postgresql":
        seal.save(force_insert=True)
        return
    columns = {field.attname: getattr(seal, field.attname) for field in seal._meta.concrete_fields}
    columns["leaves"] = f"\\x{seal.leaves.hex()}"
    statements.run(store.ALIAS, "SELECT eventlog_seal_next(%s::jsonb)", [msgspec.json.encode(columns).decode()])


def _seal(last: Seal | Anchor, leaves: Sequence[Leaf], reason: str = "") -> Seal:
    after = 0 if reason else last.until
    for leaf in leaves:
        if not leaf.hash:
            raise Unreadable(f"the event at position {leaf.position} cannot be read; see verify_log")
    hashes = [leaf.hash for leaf in leaves]
    positions = [after, *[leaf.position for leaf in leaves]]
    pairs = pairwise(positions)
    seal = Seal(
        number=last.number + 1,
        after=after,
        until=positions[-1],
        gaps=[(before + 1, position - 1) for before, position in pairs if position > before + 1],
        events=len(leaves),
        root=merkle_tree.root(hashes).hex(),
        previous=last.digest,
        sealed_at=timezone.now(),
        leaves=b"".join(hashes),
        reason=reason,
    )
    seal.digest = digest(seal)
    seal.signature = signatures.sign(bytes.fromhex(seal.digest))
    return seal


def digest(seal: Seal | Anchor) -> str:
    """SHA-256 over the canonical JSON of what a seal says. That includes the digest of the seal before it."""
    content: dict[str, Any] = {name: getattr(seal, name) for name in _CONTENT}
    content |= {"reason": seal.reason} if seal.reason else {}
    return sha256(canonical_form.encode(content | {"form": FORM})).hexdigest()


def anchor(seal: Seal) -> Anchor:
    return Anchor(**{name: getattr(seal, name) for name in Anchor.__struct_fields__})


def unsealed() -> int:
    """How many events are not sealed yet."""
    return store.count(after=last_position())


class Sealer:
    """Seals in the loop of a worker: one batch after another while there is a backlog, then one each `INTERVAL`."""

    def __init__(self) -> None:
        self.due = 0.0

    def tick(self) -> bool:
        """Seal if the time has come; True if more events wait. Raises one of `CannotSeal`, once in its `pause`."""
        now = time.monotonic()
        if now < self.due:
            return False
        try:
            full = seal_next() == BATCH
        except CannotSeal as error:
            self.due = now + error.pause
            raise
        self.due = now if full else now + INTERVAL
        return full
