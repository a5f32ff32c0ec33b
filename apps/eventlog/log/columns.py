"""The columns of the event table, in their order: the one list that all SQL of the log is made from.

Each engine reads a column in two ways. To read events, SQLite answers one text with all values of a column, because
decoding a text once costs less than fetching a value a thousand times; PostgreSQL answers row by row, in psycopg's
binary form. To seal rows, both answer every column of a row as JSON, exactly as it is stored.

Three forms of the row must have the same columns, and a test compares them: `StoredEvent` (what migrations make),
`FIELDS` (what a `RecordedEvent` holds: the columns that are read) and `canonical_form.Row` (what a seal is over; a new
column must not enter it unseen).
"""

from functools import lru_cache
from hashlib import md5
from typing import NamedTuple
from uuid import UUID

_DASHED = (
    "substr({0}, 1, 8) || '-' || substr({0}, 9, 4) || '-' || substr({0}, 13, 4) || '-' || substr({0}, 17, 4)"
    " || '-' || substr({0}, 21)"
)


class Column(NamedTuple):
    """A column of a row `e`, in the SQL of each engine: to read it, "" if nobody reads it; and as JSON, as stored."""

    name: str
    sqlite_read: str
    sqlite_json: str
    postgresql_read: str
    postgresql_json: str


def _id(name: str, sqlite_read: str, postgresql_read: str) -> Column:
    """A UUID: SQLite keeps 32 digits without dashes. It is null in JSON if it is null."""
    dashed = f"json_quote({_DASHED.format(f'e.{name}')})"
    return Column(name, sqlite_read, dashed, postgresql_read, f"""coalesce('"' || e.{name} || '"', 'null')""")


def _number(name: str) -> Column:
    # Quoted for a seal: SQLite holds a text in this column if somebody has written one past the application.
    return Column(name, f"group_concat(e.{name})", f"json_quote(e.{name})", f"e.{name}", f"e.{name}")


def _text(name: str) -> Column:
    return Column(name, f"json_group_array(e.{name})", f"json_quote(e.{name})", f"e.{name}", f"to_json(e.{name})")


def _json(name: str) -> Column:
    # As bytes: the decoder then says which row is not UTF-8.
    return Column(name, f"CAST(group_concat(e.{name}) AS blob)", f"e.{name}", f"e.{name}::text", f"e.{name}")


COLUMNS = (
    _number("position"),
    _id("event_id", "group_concat(e.event_id)", "e.event_id::text"),
    _text("stream"),
    _number("stream_version"),
    _text("category")._replace(sqlite_read="", postgresql_read=""),  # it is the beginning of the stream
    _text("type"),
    _number("schema_version"),
    _json("data"),
    _json("metadata"),
    _id("correlation_id", "", ""),  # it is in the metadata too
    Column(
        "recorded_at",
        """group_concat(e.recorded_at, 'Z","')""",  # joined, and with their zone, as strings of a JSON list
        "json_quote(e.recorded_at || 'Z')",
        "e.recorded_at",
        """'"' || to_char(e.recorded_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US') || 'Z"'""",
    ),
)

NAMES = tuple(column.name for column in COLUMNS)
READ = tuple(column for column in COLUMNS if column.postgresql_read)  # in the order of FIELDS


def as_json(columns: list[str]) -> str:
    """SQL for the JSON list of these columns."""
    between = " || ',' || "
    return f"'[' || {between.join(columns)} || ']'"


@lru_cache(16)  # all events of an append ask for the same one
def correlation_key(text: str) -> UUID:
    """What the column `correlation_id` holds for a correlation id, which may be any text. A UUID stands for itself."""
    try:
        key = UUID(text)
    except ValueError:
        key = None
    if key is not None and str(key) == text.lower():
        return key
    return UUID(md5(text.encode(), usedforsecurity=False).hexdigest())
