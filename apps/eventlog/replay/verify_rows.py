"""Compare a projector's rows with the log, without changing either."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from operator import itemgetter
from typing import Any

import msgspec
from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import connections, transaction
from django.db.models import JSONField, Model

from apps.eventlog import store
from apps.eventlog.database import statements
from apps.eventlog.delivery import checkpoints, projecting
from apps.eventlog.events import Place
from apps.eventlog.projectors import Projector
from apps.eventlog.replay.fold_streams import BATCH, Progress
from apps.eventlog.replay.rebuild import building_shadow_tables
from apps.eventlog.store import LogWentBack

MISSING = "(no such row)"
PAGE = 500  # rows that differ, read at once to be compared field by field


class Difference(msgspec.Struct, frozen=True):
    """One field of one row: `live` is what the table holds, `log` is what it should hold.

    If one of them has no such row, `field` is "" and that one is `MISSING`.
    """

    projector: str
    table: str
    key: str
    field: str
    live: Any
    log: Any


def verify(kind: type[Projector], *, batch: int = BATCH, progress: Progress = lambda events: None) -> list[Difference]:
    """Replay the log into shadow tables and compare them with the live tables; returns every difference.

    If the place of the checkpoint is not in the log, that is a difference too, and the rows are compared with the log
    as it is now. The database compares the tables. Live delivery goes on meanwhile and would cause false alarms, so the
    rows that differ are compared a second time with the projector's checkpoint locked. If a field cannot read a value,
    the value is a difference like any other and is returned as it is stored. `batch` is in events; `progress` is called
    with the number of events done since its last call. Raises `AlreadyRunning`, and `store.LogWentBack` if that happens
    meanwhile.
    """
    checkpoints.enter(kind.service)
    place, found = _place_of_rows(kind)
    with building_shadow_tables(kind, batch, progress) as (replay, shadows), _reading_any_text(kind.service):
        replay.fold_streams(place)
        replay.project_rest(place)
        tables = [(live, shadow.name) for live, shadow in zip(kind.models, shadows, strict=True)]
        suspects = [_keys_that_differ(live, shadow) for live, shadow in tables]
        if not any(suspects):
            return found
        with transaction.atomic(using=kind.service):
            checkpoints.checkpoint_model(kind.service).objects.select_for_update().get(name=kind.name)
            place, found = _place_of_rows(kind)
            replay.project_rest(place)
            found += [
                difference
                for (live, shadow), keys in zip(tables, suspects, strict=True)
                for difference in _compare(kind.name, live, shadow, keys)
            ]
    if settings.PROJECTIONS == "inline":
        projecting.catch_up(kind.service)  # requests that met the locked checkpoint have left their events to this
    return found


def _place_of_rows(kind: type[Projector]) -> tuple[Place, list[Difference]]:
    """The place in this log up to which the rows should show it, and what is wrong with the checkpoint."""
    reached = checkpoints.of_projectors(kind.service)[kind.name]
    try:
        place = checkpoints.known_again(reached)
        checkpoints.require_in_log([place])
    except LogWentBack as error:
        live, log = str(error.place.event_id), str(error.found or MISSING)
        checkpoint = f"{kind.name} at position {error.place.position}"
        return store.safe_place(), [
            Difference(kind.name, checkpoints.table(kind.service), checkpoint, "event_id", live, log)
        ]
    return place, []


@contextmanager
def _reading_any_text(service: str) -> Iterator[None]:
    """On SQLite a column takes any value, so also read text that is not UTF-8."""
    connection = connections[service]
    connection.ensure_connection()
    if _sqlite(service):
        connection.connection.text_factory = lambda text: text.decode(errors="surrogateescape")
    try:
        yield
    finally:
        if _sqlite(service) and connection.connection is not None:
            connection.connection.text_factory = str


def _keys_that_differ(live: type[Model], shadow: str) -> list[Any]:
    """The keys of the rows that are not the same in the live table and in the shadow table of this name."""
    columns = ", ".join(_as_compared(field) for field in live._meta.concrete_fields)
    one = f'SELECT {columns} FROM "{live._meta.db_table}"'  # noqa: S608
    other = f'SELECT {columns} FROM "{shadow}"'  # noqa: S608
    key = live._meta.pk.column
    either = f'SELECT "{key}" FROM ({one} EXCEPT {other}) a UNION SELECT "{key}" FROM ({other} EXCEPT {one}) b'  # noqa: S608
    return sorted((value for (value,) in statements.rows(live._meta.app_label, either)), key=str)


def _as_compared(field: Any) -> str:
    """A column as the database compares it. PostgreSQL compares JSON by value, SQLite by text, but for spaces here."""
    column = f'"{field.column}"'
    if isinstance(field, JSONField) and _sqlite(field.model._meta.app_label):
        return f"CASE WHEN json_valid({column}) THEN json({column}) ELSE {column} END AS {column}"
    return column


def _compare(name: str, live: type[Model], shadow: str, keys: Sequence[Any]) -> Iterator[Difference]:
    """The differences between the rows of two tables that have these keys."""
    table, pk = live._meta.db_table, live._meta.pk
    for start in range(0, len(keys), PAGE):
        page = keys[start : start + PAGE]
        rows, rows_by_log = (_rows(live, each, page) for each in (table, shadow))
        for key in page:
            row, other, shown = rows.get(key), rows_by_log.get(key), str(_read(pk, key))
            if row is None or other is None:
                if row is not other:
                    yield Difference(name, table, shown, "", *["" if each else MISSING for each in (row, other)])
                continue
            for field, *values in zip(live._meta.concrete_fields, row, other, strict=True):
                if not _same(field, *values):
                    yield Difference(name, table, shown, field.name, *_shown(field, values))


def _rows(live: type[Model], table: str, keys: Sequence[Any]) -> dict[Any, tuple[Any, ...]]:
    """The rows of these keys, by key, with each value as the database has it.

    Not every stored value can be read through the driver's converters, so go round them: on PostgreSQL a column comes
    as a JSON text; on SQLite `+` before a column makes it an expression, to which no converter applies.
    """
    service, pk = live._meta.app_label, live._meta.pk.column
    form = '+"{}"' if _sqlite(service) else 'to_json("{}")::text'
    columns = ", ".join(form.format(field.column) for field in live._meta.concrete_fields)
    texts = [key for key in keys if not (isinstance(key, str) and _not_utf8(key))]
    found = (
        statements.rows(
            service,
            f'SELECT "{pk}", {columns} FROM "{table}" WHERE "{pk}" IN {statements.marks(texts)}',  # noqa: S608
            texts,
        )
        if texts
        else []
    )
    # A query cannot ask for a key that is not UTF-8. No projector writes one, so its row exists in the live table only.
    edits = set(keys) - set(texts) if table == live._meta.db_table else ()
    return {key: tuple(row) for key, *row in found} | {key: (key,) for key in edits}


def _same(field: Any, live: Any, log: Any) -> bool:
    """Are these the same value, as the database has it? One JSON value can be written in several ways."""
    if live == log or not isinstance(field, JSONField):
        return live == log
    try:
        return _decoded(live) == _decoded(log)
    except (ValueError, TypeError, RecursionError):
        return False


def _decoded(raw: Any) -> Any:
    """JSON with objects as sorted tuples of all their members, and numbers as tuples with their digits."""

    def digits(text: str) -> tuple[str]:
        return (text,)

    return json.loads(raw, object_pairs_hook=_members, parse_float=digits, parse_int=digits)


def _members(pairs: list[tuple[str, Any]]) -> tuple[tuple[str, Any], ...]:
    return tuple(sorted(pairs, key=itemgetter(0)))


def _shown(field: Any, values: Sequence[Any]) -> list[Any]:
    """Two values as their field reads them, or as they are stored if the field reads both the same."""
    as_json = isinstance(field, JSONField) or not _sqlite(field.model._meta.app_label)
    shown = [_read(field, value, as_json=as_json) for value in values]
    return shown if shown[0] != shown[1] else [repr(value) for value in values]


def _read(field: Any, raw: Any, *, as_json: bool = False) -> Any:
    """A value as its field reads it, or as it is stored if the field cannot read it."""
    try:
        value = field.to_python(json.loads(raw) if as_json and raw is not None else raw)
    except (ValueError, TypeError, ArithmeticError, RecursionError, ValidationError):
        value = raw
    if isinstance(value, str):
        return value.encode(errors="backslashreplace").decode()
    return value.replace(tzinfo=UTC) if isinstance(value, datetime) and value.tzinfo is None else value


def _not_utf8(text: str) -> bool:
    """Has `_reading_any_text` put a surrogate for some byte of this text?"""
    return any("\ud800" <= character <= "\udfff" for character in text)


def _sqlite(service: str) -> bool:
    return connections[service].vendor == "sqlite"
