"""What seals cover: a leaf for each event exactly as it is stored; and the streams that break a promise of the log."""

from collections.abc import Iterator
from typing import NamedTuple

from apps.eventlog.log import stored_rows
from apps.eventlog.sealing import canonical_form, merkle_tree


class Leaf(NamedTuple):
    """A stored event: its position, and the Merkle leaf over its canonical form, or b"" if the event cannot be read."""

    position: int
    hash: bytes


class Finding(NamedTuple):
    """Something that is not as it was written: the first position that it concerns, and what is wrong."""

    position: int
    what: str


def leaves(*, after: int, end: int, limit: int) -> list[Leaf]:
    """The next events after a position, up to the position `end`."""
    try:
        positions, forms = canonical_form.rows(stored_rows.page(after=after, end=end, limit=limit))
    except canonical_form.UNREADABLE:
        return [_single(position) for position in stored_rows.positions(after=after, end=end, limit=limit)]
    return list(map(Leaf, positions, map(merkle_tree.leaf, forms)))


def _single(position: int) -> Leaf:
    try:
        _, [form] = canonical_form.rows(stored_rows.page(after=position - 1, end=position, limit=1))
    except canonical_form.UNREADABLE:
        return Leaf(position, b"")
    return Leaf(position, merkle_tree.leaf(form))


def broken_streams() -> Iterator[Finding]:
    """Events, sealed or not, that cannot follow the event before them in their stream."""
    for event in stored_rows.misplaced():
        before = event.version_before
        if event.version != before + 1:
            what = f"{event.stream} goes from version {before} to {event.version}"
        elif event.position_before is not None and event.position_before > event.position:
            what = f"{event.stream} has version {event.version} before version {before}"
        else:
            what = f"{event.stream} was recorded earlier than its event at position {event.position_before}"
        yield Finding(event.position, what)
