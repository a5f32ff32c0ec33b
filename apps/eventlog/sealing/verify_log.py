"""Find what somebody has changed in the log behind the application's back.

`changed_events` compares the events with the seals in the database. Somebody who can change both can seal the changed
log anew; `differing_anchors` compares the events with anchors, which are kept elsewhere.
"""

from collections.abc import Callable, Iterable, Iterator
from itertools import chain, islice, repeat
from pathlib import Path

import msgspec

from apps.eventlog import store
from apps.eventlog.models import Seal
from apps.eventlog.sealing import leaves, merkle_tree, seals
from apps.eventlog.sealing.leaves import Finding, Leaf
from apps.eventlog.sealing.seal_chain import SealChain, Unusable
from apps.eventlog.sealing.seals import Anchor

PAGE = 1000  # events read at once
SEALS = 20  # seals read at once, 32 kB each
END = Leaf(1 << 63, b"")  # lies beyond every position

Progress = Callable[[int], None]


def changed_events(until: int, progress: Progress = lambda events: None) -> Iterator[Finding]:
    """Compare the sealed events with their seals, up to the seal of number `until`.

    Of chains that ended because the log went back, the seals themselves are checked (see `ended_chains`). Gives the
    first difference of each seal. `progress` is called with the number of events compared since its last
    call. Raises `Unusable` if keys are set and no seal is signed.
    """
    seal_chain, first = SealChain(), seals.first_of_chain(until)
    trusted: list[Seal] = []
    for seal in _stored_seals(until):
        fault = _fault(seal_chain, seal)
        if fault is not None:
            yield fault
        elif seal and seal.number >= first:
            if sum(each.events for each in trusted) + seal.events > PAGE:
                yield from _differences(trusted, progress)
                trusted = []
            trusted.append(seal)
    yield from _differences(trusted, progress)
    seal_chain.end()


def seals_beyond_the_log(number: int) -> Iterator[Finding]:
    """Seals, up to one by number, that reach further than the log: it went back, or they were forged."""
    head = store.head()
    beyond = Seal.objects.filter(
        number__range=(seals.first_of_chain(number), number), until__range=(head + 1, END.position - 1)
    )
    for seal, until in beyond.order_by("number").values_list("number", "until").iterator():
        yield Finding(until, f"seal {seal} reaches position {until}, but the log ends at {head}")


def ended_chains(until: int) -> Iterator[str]:
    """What was said of each chain of seals that ended, up to a seal by number, and where its events are others."""
    begun = Seal.objects.filter(number__lte=until).exclude(reason="").order_by("number")
    first = 1
    for seal in begun.defer("leaves"):
        sealed = [each for each in _stored_seals(seal.number - 1, first - 1) if each]
        found = (difference for each in sealed for difference in _differences([each], lambda events: None))
        difference = next(found, None)
        where = f"differ from position {difference.position} on" if difference else "are those of the log"
        yield (
            f"seals {first} to {seal.number - 1} ended, and their events {where}; a new chain began"
            f" {seal.sealed_at:%Y-%m-%d %H:%M}: {seal.reason}"
        )
        first = seal.number


def _stored_seals(until: int, number: int = 0) -> Iterator[Seal | None]:
    """The seals of the table, beyond one by number, up to another.

    A seal whose columns hold no valid values comes as None, and nothing comes after it.
    """
    size = SEALS
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


def _fault(seal_chain: SealChain, seal: Seal | None) -> Finding | None:
    """What is wrong with a seal itself; its events are not looked at."""
    if seal is None:
        return Finding(seal_chain.last.until + 1, "the seal of this event cannot be read")
    fault = seal_chain.fault(seal)
    if fault is None and not _leaves_fit(seal):
        return Finding(seal.after + 1, f"the leaves of seal {seal.number} were changed")
    return fault


def _leaves_fit(seal: Seal) -> bool:
    hashes = _hashes(seal)
    return len(seal.leaves) == 32 * seal.events and merkle_tree.root(hashes).hex() == seal.root


def _hashes(seal: Seal) -> list[bytes]:
    every = bytes(seal.leaves)
    return [every[at : at + 32] for at in range(0, len(every), 32)]


def _differences(sealed: list[Seal], progress: Progress) -> Iterator[Finding]:
    """The first difference of each of these consecutive seals. Their events are read at once."""
    if not sealed:
        return
    total = sum(seal.events for seal in sealed)
    found = leaves.leaves(after=sealed[0].after, end=sealed[-1].until, limit=total + 1)
    if b"".join(leaf.hash for leaf in found) != b"".join(seal.leaves for seal in sealed):
        for seal in sealed:
            if (difference := _first_difference(seal, _hashes(seal))) is not None:
                yield difference
    progress(total)


def _first_difference(seal: Seal | Anchor, hashes: Iterable[bytes | None]) -> Finding | None:
    """The first position of a seal that does not hold the sealed event.

    `hashes` are those of the sealed events, in order; None if a hash is not known.
    """
    found = chain(_leaves(seal.after, seal.until), repeat(END))
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
    """The positions of the sealed events."""
    at = seal.after + 1
    for first, last in seal.gaps:
        yield from range(at, first)
        at = last + 1
    yield from range(at, seal.until + 1)


def _leaves(after: int, until: int) -> Iterator[Leaf]:
    while page := leaves.leaves(after=after, end=until, limit=PAGE):
        yield from page
        after = page[-1].position


def read_anchors(file: Path) -> Iterator[Anchor]:
    """The anchors of an exported file. Raises `Unusable` if they are not a whole chain of seals, and `OSError`."""
    seal_chain = SealChain()
    with file.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                anchor = msgspec.json.decode(line, type=Anchor)
            except (msgspec.MsgspecError, RecursionError, UnicodeError) as error:
                raise Unusable(f"{file}, line {number}: {error}") from error
            if fault := seal_chain.fault(anchor):
                raise Unusable(f"{file}, line {number}: {fault.what}")
            yield anchor
    if seal_chain.last is seals.GENESIS:
        raise Unusable(f"{file} holds no seal")
    seal_chain.end()


def differing_anchors(anchors: Iterator[Anchor]) -> Iterator[Finding]:
    """Compare the log with anchors; gives the first difference of each.

    If the log has the same seal, `changed_events` has checked it. If not, the events themselves are compared: a log
    that was moved to another database with its positions, and sealed there anew, still fits its old anchors. So are
    those of seals whose chain has ended.
    """
    first = seals.first_of_chain()
    while page := list(islice(anchors, SEALS)):
        numbers = [anchor.number for anchor in page]
        stored = dict(Seal.objects.filter(number__in=numbers).values_list("number", "digest"))
        for anchor in page:
            known = anchor.number >= first and stored.get(anchor.number) == anchor.digest
            if not known and (difference := _anchor_difference(anchor)) is not None:
                yield difference


def _anchor_difference(anchor: Anchor) -> Finding | None:
    if (difference := _first_difference(anchor, repeat(None))) is not None:
        return difference
    if merkle_tree.root([leaf.hash for leaf in _leaves(anchor.after, anchor.until)]).hex() == anchor.root:
        return None
    first = anchor.after + 1
    return Finding(first, f"an event at positions {first} to {anchor.until} is not the one that was anchored")
