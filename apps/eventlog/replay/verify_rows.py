"""Compare read models with the log, without changing either."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import msgspec
from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import connections, transaction
from django.db.models import JSONField, Model

from apps.eventlog.database import statements
from apps.eventlog.delivery import checkpoints, projecting
from apps.eventlog.projectors import Projector
from apps.eventlog.replay.fold_streams import BATCH, Progress
from apps.eventlog.replay.rebuild import beside
from apps.eventlog.replay.shadow_table import Shadow

MISSING = "(no such row)"
AT_ONCE = 500  # rows that differ, compared field by field


class Difference(msgspec.Struct, frozen=True):
    """One field of one row: what the table holds and what the log says. `field` is "" for a whole row."""

    projector: str
    table: str
    key: str
    field: str
    live: Any
    log: Any


def verify(kind: type[Projector], *, batch: int = BATCH, progress: Progress = lambda events: None) -> list[Difference]:
    """Rebuild beside the live tables and compare; returns every difference.

    The tables are compared by the database; the rows that differ are looked at once more with
    the projector's checkpoint held, so that live delivery makes no false alarm. A value that its
    field cannot read is a difference like any other, and given as it stands.
    """
    checkpoints.enter(kind.service)
    position = checkpoints.positions(kind.service)[kind.name]
    with beside(kind, batch, progress) as (replay, shadows), _any_text(kind.service):
        replay.fill(position)
        replay.drain(position)
        suspects = [_differing(live, shadow) for live, shadow in zip(kind.models, shadows, strict=True)]
        if not any(suspects):
            return []
        with transaction.atomic(using=kind.service):
            row = checkpoints.checkpoint_model(kind.service).objects.select_for_update().get(name=kind.name)
            replay.drain(row.position)
            found = [
                difference
                for live, shadow, keys in zip(kind.models, shadows, suspects, strict=True)
                for difference in _compare(kind.name, live, shadow.name, keys)
            ]
    if settings.PROJECTIONS == "inline":
        projecting.catch_up(kind.service)  # requests that found the checkpoint held have left it this
    return found


@contextmanager
def _any_text(service: str) -> Iterator[None]:
    """On SQLite, where a column takes any value, read also text that is not UTF-8."""
    connection = connections[service]
    connection.ensure_connection()
    if _sqlite(service):
        connection.connection.text_factory = lambda text: text.decode(errors="surrogateescape")
    try:
        yield
    finally:
        if _sqlite(service) and connection.connection is not None:
            connection.connection.text_factory = str


def _differing(live: type[Model], shadow: Shadow) -> list[Any]:
    """The keys of rows that are not the same in both tables."""
    columns = ", ".join(f'"{field.column}"' for field in live._meta.concrete_fields)
    one = f'SELECT {columns} FROM "{live._meta.db_table}"'  # noqa: S608
    other = f'SELECT {columns} FROM "{shadow.name}"'  # noqa: S608
    key = live._meta.pk.column
    either = f'SELECT "{key}" FROM ({one} EXCEPT {other}) a UNION SELECT "{key}" FROM ({other} EXCEPT {one}) b'  # noqa: S608
    return sorted((value for (value,) in statements.rows(live._meta.app_label, either)), key=str)


def _compare(name: str, live: type[Model], shadow: str, keys: Sequence[Any]) -> Iterator[Difference]:
    table, pk = live._meta.db_table, live._meta.pk
    for start in range(0, len(keys), AT_ONCE):
        part = keys[start : start + AT_ONCE]
        rows, truth = (_rows(live, each, part) for each in (table, shadow))
        for key in part:
            row, other, shown = rows.get(key), truth.get(key), str(_read(pk, key))
            if row is None or other is None:
                if row is not other:
                    yield Difference(name, table, shown, "", *["" if each else MISSING for each in (row, other)])
                continue
            for field, *values in zip(live._meta.concrete_fields, row, other, strict=True):
                if values[0] != values[1]:
                    yield Difference(name, table, shown, field.name, *_shown(field, values))


def _rows(live: type[Model], table: str, keys: Sequence[Any]) -> dict[Any, tuple[Any, ...]]:
    """Rows by key, as the database has them, past the drivers, which cannot read every value.

    On PostgreSQL a column comes as a JSON text; on SQLite `+` keeps it from what is registered for its type.
    """
    service, pk = live._meta.app_label, live._meta.pk.column
    form = '+"{}"' if _sqlite(service) else 'to_json("{}")::text'
    columns = ", ".join(form.format(field.column) for field in live._meta.concrete_fields)
    texts = [key for key in keys if not (isinstance(key, str) and _unreadable(key))]
    found = (
        statements.rows(
            service,
            f'SELECT "{pk}", {columns} FROM "{table}" WHERE "{pk}" IN {statements.marks(texts)}',  # noqa: S608
            texts,
        )
        if texts
        else []
    )
    # A key that is not UTF-8 cannot be asked for, and only an edit has made it.
    edits = set(keys) - set(texts) if table == live._meta.db_table else ()
    return {key: tuple(row) for key, *row in found} | {key: (key,) for key in edits}


def _shown(field: Any, values: Sequence[Any]) -> list[Any]:
    """Two values as their field reads them; where that makes them look the same, as they stand."""
    as_json = isinstance(field, JSONField) or not _sqlite(field.model._meta.app_label)
    shown = [_read(field, value, as_json=as_json) for value in values]
    return shown if shown[0] != shown[1] else [repr(value) for value in values]


def _read(field: Any, raw: Any, *, as_json: bool = False) -> Any:
    """A value as its field reads it, or as it stands where the field cannot."""
    try:
        value = field.to_python(json.loads(raw) if as_json and raw is not None else raw)
    except (ValueError, TypeError, ArithmeticError, RecursionError, ValidationError):
        value = raw
    if isinstance(value, str):
        return value.encode(errors="backslashreplace").decode()
    return value.replace(tzinfo=UTC) if isinstance(value, datetime) and value.tzinfo is None else value


def _unreadable(text: str) -> bool:
    return any("\ud800" <= character <= "\udfff" for character in text)


def _sqlite(service: str) -> bool:
    return connections[service].vendor == "sqlite"
