"""The rows of the event table exactly as they are stored, for seals and for those who check them."""

from collections.abc import Iterator
from typing import NamedTuple

from django.db import connections

from apps.eventlog.database import statements
from apps.eventlog.log import queries
from apps.eventlog.log.engine import ALIAS, engine


class Misplaced(NamedTuple):
    """An event that does not follow the one before it in its stream: by version, by position, or else by instant."""

    position: int
    stream: str
    version: int
    version_before: int  # 0 for the first event of a stream
    position_before: int | None


def page(*, after: int, end: int, limit: int) -> str | bytes:
    """The next rows beyond a position, up to an `end`: a JSON list, as `canonical_form.rows` takes it."""
    return engine().read_as_stored(queries.every_column(after, end, limit))


def positions(*, after: int, end: int, limit: int) -> list[int]:
    """The positions of the same rows, also if a row cannot be read."""
    return [position for (position,) in statements.rows(ALIAS, *queries.positions(after, end, limit))]


def misplaced() -> Iterator[Misplaced]:
    """The events that break what the log promises of each stream, by position. It reads the whole log."""
    with connections[ALIAS].cursor() as cursor:
        cursor.execute(queries.BROKEN_STREAMS)
        yield from map(Misplaced._make, cursor)
