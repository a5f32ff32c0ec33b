"""Whole columns of ids and instants as texts: one call of C for a column, and not one of Python for each value.

A column is encoded as one JSON list of strings, and the list is cut at `","`. That is exact because of what the
values are: the text of an id has only hexadecimal digits, and that of an instant only digits and `-:.TZ`. So no text
has a quote, a comma, or anything that JSON would escape. Every value must be of exactly the type that is named here.

Measured: without this a rebuild takes 1.16 times the processor time on SQLite and 1.27 times on PostgreSQL (150,000
events, five rounds in turns, medians).
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from uuid import UUID

import msgspec

_ENCODER = msgspec.json.Encoder(uuid_format="hex")


def ids(column: Sequence[UUID]) -> list[str]:
    """32 hexadecimal digits each, as SQLite keeps ids and PostgreSQL reads them."""
    return _joined(column).split('","')


def instants(column: Sequence[datetime]) -> list[str]:
    """ISO 8601 in UTC with a `Z`, as PostgreSQL reads them."""
    return _joined(_in_utc(column)).split('","')


def sqlite_instants(column: Sequence[datetime]) -> list[str]:
    """As Django has them on SQLite: in UTC, with a space and without a zone."""
    return _joined(_in_utc(column)).replace("T", " ").removesuffix("Z").split('Z","')


def _in_utc(column: Sequence[datetime]) -> list[datetime]:
    """The encoder rounds an offset to minutes, so it must see none."""
    return [value if value.tzinfo is UTC else value.astimezone(UTC) for value in column]


def _joined(column: Sequence[UUID | datetime]) -> str:
    """The JSON of a column of at least one value, without the brackets and the outermost quotes."""
    return _ENCODER.encode(column).decode()[2:-2]
