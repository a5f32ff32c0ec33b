"""Find what was changed in the log behind the application's back, by its seals and by anchors kept elsewhere."""

from collections.abc import Callable, Iterable, Iterator
from itertools import chain, islice, repeat
from pathlib import Path

import msgspec

from apps.eventlog import store
from apps.eventlog.models import Seal
from apps.eventlog.sealing import merkle_tree, seals, signatures, stored_rows
from apps.eventlog.sealing.seals import Anchor
from apps.eventlog.sealing.stored_rows import Finding, Leaf

PAGE = 1000  # events at a time
SEALS = 20  # seals at a time, 32 kB each
NOTHING = Leaf(1 << 63, b"")  # beyond every position

Progress = Callable[[int], None]


class Unusable(Exception):
    """The evidence itself is no good: there is nothing to check the log against."""


class Chain:
    """Follows seals or anchors one after the other and says what is wrong with each.

    Where public keys are known, every seal from the first signed one on must be signed by one of
    them; what is before it is vouched for by its digest.
    """

    def __init__(self) -> None:
        self.last: Seal | Anchor = seals.GENESIS
        self.keys = signatures.public_keys()
        self.signed = False

    def fault(self, seal: Seal | Anchor) -> Finding | None:
        last, self.last = self.last, seal
        if seal.number != last.number + 1:
            return Finding(last.until + 1, f"seal {last.number + 1} is missing")
        if seals.digest(seal) != seal.digest:
            return Finding(last.until + 1, f"seal {seal.number} was changed")
        if (seal.previous, seal.after) != (last.digest, last.until):
            return Finding(last.after + 1, f"seal {seal.number} does not continue seal {last.number}")
        if self.keys and not self._properly_signed(seal):
            return Finding(seal.after + 1, f"seal {seal.number} is not signed by a known key")
        return None

    def _properly_signed(self, seal: Seal | Anchor) -> bool:
        if signatures.is_signed(bytes.fromhex(seal.digest), seal.signature, self.keys):
            self.signed = True
            return True
        return not (self.signed or seal.signature)

    def end(self) -> None:
        """Raises `Unusable` where keys are known and nothing was signed."""
        if self.keys and not self.signed and self.last is not seals.GENESIS:
            raise Unusable("a key is set, but no seal is signed yet")


def changed_events(until: int, progress: Progress = lambda events: None) -> Iterator[Finding]:
    """Compare the sealed events with their seals, up to a seal by number; the first difference of each seal.

    Raises `Unusable` where keys are set and no seal is signed.
    """
    links = Chain()
    trusted: list[Seal] = []
    for seal in _stored(until):
        fault = links.fault(seal) if seal else Finding(links.last.until + 1, "the seal of this event cannot be read")
        if fault is None and seal and not _leaves_fit(seal):
            fault = Finding(seal.after + 1, f"the leaves of seal {seal.number} were changed")
        if fault is not None:
            yield fault
        elif seal:
            if sum(each.events for each in trusted) + seal.events > PAGE:
                yield from _differences(trusted)
                progress(sum(each.events for each in trusted))
                trusted = []
            trusted.append(seal)
    yield from _differences(trusted)
    progress(sum(each.events for each in trusted))
    links.end()


def seals_beyond_the_log(number: int) -> Iterator[Finding]:
    """Seals, up to one by number, that reach further than the log: it went back, or they were forged."""
    head = store.head()
    beyond = Seal.objects.filter(number__lte=number, until__range=(head + 1, NOTHING.position - 1))
    for seal, until in beyond.order_by("number").values_list("number", "until").iterator():
        yield Finding(until, f"seal {seal} reaches position {until}, but the log ends at {head}")


def _stored(until: int) -> Iterator[Seal | None]:
    """The seals of the table; None, and no more, for one whose columns are no values at all."""
    number, size = 0, SEALS
    while True:
        try:
            page = list(Seal.objects.filter(number__gt=number, number__lte=until).order_by("number")[:size])
            for seal in page:
                seal.leaves = bytes(seal.leaves)
        except (ValueError, TypeError, AttributeError):
            if size == 1:
                yield None
                return
            size = 1
            continue
        yield from page
        if not page:
            return
        number = page[-1].number


def _leaves_fit(seal: Seal) -> bool:
    hashes = _hashes(seal)
    return len(seal.leaves) == 32 * seal.events and merkle_tree.root(hashes).hex() == seal.root


def _hashes(seal: Seal) -> list[bytes]:
    every = bytes(seal.leaves)
    return [every[at : at + 32] for at in range(0, len(every), 32)]


def _differences(sealed: list[Seal]) -> Iterator[Finding]:
    """The first difference of each of a few seals that lie side by side, read in one go."""
    if not sealed:
        return
    total = sum(seal.events for seal in sealed)
    found = stored_rows.leaves(after=sealed[0].after, end=sealed[-1].until, limit=total + 1)
    if b"".join(leaf.hash for leaf in found) == b"".join(seal.leaves for seal in sealed):
        return
    for seal in sealed:
        if (difference := _first_difference(seal, _hashes(seal))) is not None:
            yield difference


def _first_difference(seal: Seal | Anchor, hashes: Iterable[bytes | None]) -> Finding | None:
    """The first position of a seal that does not hold the event that it held; None for a hash means: not known."""
    found = chain(_read(seal.after, seal.until), repeat(NOTHING))
    for (position, hash), leaf in zip(zip(_positions(seal), hashes, strict=False), found, strict=False):
        if leaf.position < position:
            return Finding(leaf.position, "an event has appeared where there was none")
        if leaf.position > position:
            return Finding(position, "the event is gone")
        if not leaf.hash:
            return Finding(position, "the event cannot be read")
        if hash is not None and leaf.hash != hash:
            return Finding(position, "the event is not the one that was sealed")
    return None


def _positions(seal: Seal | Anchor) -> Iterator[int]:
    at = seal.after + 1
    for first, last in seal.gaps:
        yield from range(at, first)
        at = last + 1
    yield from range(at, seal.until + 1)


def _read(after: int, until: int) -> Iterator[Leaf]:
    while page := stored_rows.leaves(after=after, end=until, limit=PAGE):
        yield from page
        after = page[-1].position


def differing_anchors(anchors: Iterator[Anchor]) -> Iterator[Finding]:
    """Compare the log with anchors: where its own seal is another, by the events themselves.

    So anchors also vouch for a log that was moved to another database with its positions kept,
    and was sealed anew there.
    """
    while some := list(islice(anchors, SEALS)):
        numbers = [anchor.number for anchor in some]
        same = dict(Seal.objects.filter(number__in=numbers).values_list("number", "digest"))
        for anchor in some:
            if same.get(anchor.number) != anchor.digest and (difference := _anchored(anchor)) is not None:
                yield difference


def _anchored(anchor: Anchor) -> Finding | None:
    if (difference := _first_difference(anchor, repeat(None))) is not None:
        return difference
    if merkle_tree.root([leaf.hash for leaf in _read(anchor.after, anchor.until)]).hex() == anchor.root:
        return None
    first = anchor.after + 1
    return Finding(first, f"an event at positions {first} to {anchor.until} is not the one that was anchored")


def read_anchors(file: Path) -> Iterator[Anchor]:
    """The anchors of an exported file. Raises `Unusable` where it is not a whole chain of seals, or OSError."""
    links = Chain()
    with file.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                anchor = msgspec.json.decode(line, type=Anchor)
            except (msgspec.MsgspecError, RecursionError, UnicodeError) as error:
                raise Unusable(f"{file}, line {number}: {error}") from error
            if fault := links.fault(anchor):
                raise Unusable(f"{file}, line {number}: {fault.what}")
            yield anchor
    if links.last is seals.GENESIS:
        raise Unusable(f"{file} holds no seal")
    links.end()
