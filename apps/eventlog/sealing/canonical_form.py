"""The canonical form of a stored event: the same bytes for the same row on every engine.

It is a JSON array of the row's columns in the order of `Row`, written as RFC 8785 says: UTF-8 without spaces, the keys
of objects sorted, and no unnecessary escapes. It differs from that standard in two ways:

- Keys are sorted by code points.
- Numbers keep their exact decimal value; as the standard's doubles, 2**53 and 2**53 + 1 would be the same. An integral
  number below 10**400 is written as an integer. Any other number is written as Python's `str(Decimal.normalize())`
  writes it, which is the scientific string of the General Decimal Arithmetic specification after its operation
  "reduce". So `1e2`, `1.0` and `-0.0` are 100, 1 and 0 on both engines, though jsonb rewrites them and SQLite does not.
"""

from decimal import MAX_EMAX, MAX_PREC, MIN_EMIN, Context, Decimal, InvalidOperation
from typing import Any

import msgspec

UNREADABLE = (msgspec.MsgspecError, RecursionError, InvalidOperation, UnicodeError)
_EXACT = Context(prec=MAX_PREC, Emax=MAX_EMAX, Emin=MIN_EMIN, traps=[InvalidOperation])


class Row(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Every column of a stored event. Ids have dashes, `recorded_at` is `YYYY-MM-DD hh:mm:ss.ffffffZ`."""

    position: int
    event_id: str
    stream: str
    stream_version: int
    category: str
    type: str
    schema_version: int
    data: Any
    metadata: Any
    correlation_id: str | None
    recorded_at: str


def _number(text: str) -> int | Decimal:
    value = Decimal(text).normalize(_EXACT)
    if not value:
        return 0
    return int(value) if value == value.to_integral_value() and value.adjusted() < 400 else value


_decode = msgspec.json.Decoder(list[Row], float_hook=_number).decode
_encoder = msgspec.json.Encoder(order="sorted", decimal_format="number")

encode = _encoder.encode


def rows(page: str | bytes) -> tuple[list[int], list[bytes]]:
    """The positions and the canonical forms of a page of rows. The page is a JSON list of lists of columns.

    Raises one of `UNREADABLE`.
    """
    found = _decode(page)
    # A line feed separates the forms, because no form contains one: strings escape it.
    return [row.position for row in found], _encoder.encode_lines(found).split(b"\n")[:-1]
