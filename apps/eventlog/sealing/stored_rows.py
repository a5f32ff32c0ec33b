"""The rows of the log as they are stored: to seal them, and to check them against their seals."""

from collections.abc import Iterator
from typing import NamedTuple

from django.db import connections

from apps.eventlog import store
from apps.eventlog.sealing import canonical_form, merkle_tree

# Finds each event that breaks a promise of the log: in a stream, versions are 1, 2, 3 ... without gaps, and neither
# positions nor instants go back.
STREAMS = """
SELECT position, stream, stream_version, version_before, position_before, position_before > position
FROM (SELECT position, stream, stream_version, recorded_at,
             lag(stream_version, 1, 0) OVER w AS version_before,
             lag(position) OVER w AS position_before,
             lag(recorded_at) OVER w AS recorded_before
      FROM eventlog_event WINDOW w AS (PARTITION BY stream ORDER BY stream_version)) e
WHERE stream_version <> version_before + 1 OR position_before > position OR recorded_before > recorded_at
ORDER BY position
"""


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
        positions, forms = canonical_form.rows(store.page_as_stored(after=after, end=end, limit=limit))
    except canonical_form.UNREADABLE:
        there = store.find(position__gt=after, position__lte=end).values_list("position", flat=True)[:limit]
        return [_single(position) for position in there]
    return list(map(Leaf, positions, map(merkle_tree.leaf, forms)))


def _single(position: int) -> Leaf:
    try:
        _, [form] = canonical_form.rows(store.page_as_stored(after=position - 1, end=position, limit=1))
    except canonical_form.UNREADABLE:
        return Leaf(position, b"")
    return Leaf(position, merkle_tree.leaf(form))


def broken_streams() -> Iterator[Finding]:
    """Events, sealed or not, that cannot follow the event before them in their stream."""
    with connections[store.ALIAS].cursor() as cursor:
        cursor.execute(STREAMS)
        for position, stream, version, version_before, position_before, out_of_order in cursor:
            if version != version_before + 1:
                yield Finding(position, f"{stream} goes from version {version_before} to {version}")
            elif out_of_order:
                yield Finding(position, f"{stream} has version {version} before version {version_before}")
            else:
                yield Finding(position, f"{stream} was recorded earlier than its event at position {position_before}")
