"""Many rows at once: blank ones to fold into, and COPY (PostgreSQL) or long INSERTs (SQLite) to write them."""

from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import datetime
from functools import lru_cache
from itertools import chain
from operator import itemgetter
from typing import Any, TypeVar
from uuid import UUID

import msgspec
from django.db import connections, models, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import Model
from django.db.models.base import ModelState

from apps.eventlog.database import column_texts, prepared
from apps.eventlog.database.statements import marks

Column = Sequence[Any]
Key = TypeVar("Key", UUID, str)

VALUES = 3000  # of one statement on SQLite: more gain nothing, and SQLite takes 32,766 at most unless built otherwise


def _jsons(column: Column) -> list[str]:
    return [msgspec.json.encode(value).decode() for value in column]


# For each kind of field: the usual type of its values, and the function that turns a column of them into what the
# driver takes, or None if the driver takes them as they are. A column that has any other value goes through its field,
# and so does any other kind of field. Measured: if all did, a rebuild would take 1.65 times the processor time on
# SQLite and 1.9 times on PostgreSQL (150,000 events, five rounds in turns, medians; so are the figures below).
Plain = dict[type, tuple[type, Callable[[Column], Column] | None]]
PLAIN: Plain = {
    models.CharField: (str, None),
    models.TextField: (str, None),
    models.BooleanField: (bool, None),
    models.IntegerField: (int, None),
    models.BigIntegerField: (int, None),
    models.PositiveIntegerField: (int, None),
    models.JSONField: (list, _jsons),
}
POSTGRESQL = PLAIN | {models.UUIDField: (UUID, None), models.DateTimeField: (datetime, None)}
SQLITE = PLAIN | {
    models.UUIDField: (UUID, column_texts.ids),
    models.DateTimeField: (datetime, column_texts.sqlite_instants),
}

ESCAPES = str.maketrans({"\\": r"\\", "\n": r"\n", "\r": r"\r", "\t": r"\t"})


def _printed(column: Column) -> Iterable[str]:
    return map(str, column)


def _escaped(column: Column) -> Iterable[str]:
    everything = "".join(column)
    return [text.translate(ESCAPES) for text in column] if any(map(everything.__contains__, "\\\n\r\t")) else column


# For each type that the driver takes: the function that turns a column into COPY's text format.
COPIED: dict[type, Callable[[Column], Iterable[str]]] = {
    str: _escaped,
    int: _printed,
    bool: _printed,
    UUID: column_texts.ids,
    datetime: column_texts.instants,
}


def blank_rows(model: type[Model]) -> Callable[[UUID], Any]:
    """A function that makes new instances of a model by primary key.

    It copies what the model's own constructor made once. Measured: a rebuild that calls the constructor for each row
    takes 1.4 times the processor time on SQLite and 1.55 times on PostgreSQL.
    """
    defaults, key = vars(model()), model._meta.pk.attname
    fields = [field for field in model._meta.concrete_fields if field.has_default() and callable(field.default)]
    made = [(field.attname, field.get_default) for field in fields]

    def blank(pk: UUID) -> Any:
        row = model.__new__(model)
        row.__dict__ = values = defaults.copy()
        values["_state"], values[key] = ModelState(), pk
        for name, make in made:
            values[name] = make()
        return row

    return blank


def find(model: type[Model], keys: Collection[Key]) -> dict[Key, Any]:
    """The rows with these primary keys, by key.

    Most commands change one row. Measured: with `in_bulk` for it too, a command on an order takes 1.17 times the
    processor time.
    """
    if len(keys) != 1:
        return models.QuerySet(model).in_bulk(keys) if keys else {}
    [key] = keys
    row = prepared.first(_by_key, model, key=key)
    return {} if row is None else {key: model.from_db(model._meta.app_label, _names(model), row)}


def _by_key(model: type[Model], *, key: Any) -> models.QuerySet[Any, Any]:
    return models.QuerySet(model).filter(pk=key).values_list(*_names(model))


def _names(model: type[Model]) -> list[str]:
    return [field.attname for field in model._meta.concrete_fields]


def insert(model: type[Model], rows: Sequence[Any]) -> None:
    """Insert rows that are not there yet, all or none, without signals.

    Measured: a rebuild by Django's `bulk_create` takes 2.3 times the processor time on SQLite and 4.2 times on
    PostgreSQL. Raises IntegrityError if a row is there.
    """
    if not rows:
        return
    connection = connections[model._meta.app_label]
    columns = _adapted(model, rows, connection)  # before the transaction: in it nobody else can write on SQLite
    if connection.vendor == "postgresql":
        with transaction.atomic(using=connection.alias), connection.wrap_database_errors:
            _copy(connection, model, columns)
    else:
        _insert(connection, model, list(zip(*columns, strict=True)))


def _copy(connection: BaseDatabaseWrapper, model: type[Model], columns: Sequence[Column]) -> None:
    """COPY the rows as one text if every column has values of one usual type, and else row by row.

    Measured: a rebuild that copies row by row takes 1.27 times the processor time.
    """
    names = ", ".join(f'"{field.column}"' for field in model._meta.concrete_fields)
    kinds = [set(map(type, column)) for column in columns]
    with connection.cursor() as cursor, cursor.copy(f'COPY "{model._meta.db_table}" ({names}) FROM STDIN') as copy:
        if all(len(kind) == 1 and kind <= COPIED.keys() for kind in kinds):
            texts = [COPIED[kind.pop()](column) for kind, column in zip(kinds, columns, strict=True)]
            copy.write("\n".join(map("\t".join, zip(*texts, strict=True))))
            return
        for row in zip(*columns, strict=True):
            copy.write_row(row)


def _insert(connection: BaseDatabaseWrapper, model: type[Model], rows: Sequence[Sequence[Any]]) -> None:
    """INSERT many rows in each statement. Measured: one row in each makes a rebuild take 1.14 times the processor time.

    Python's lock is also released once for a statement and not once for a row.
    """
    many = VALUES // len(rows[0])
    whole = len(rows) - len(rows) % many
    statements = [list(chain.from_iterable(rows[start : start + many])) for start in range(0, whole, many)]
    with transaction.atomic(using=connection.alias), connection.cursor() as cursor:
        for values in statements:
            cursor.execute(_insertion(model, many), values)
        cursor.executemany(_insertion(model), rows[whole:])


def upsert(model: type[Model], rows: Sequence[Any]) -> None:
    """Insert rows, or write them over the rows that have their primary keys, without signals."""
    if not rows:
        return
    connection = connections[model._meta.app_label]
    columns = [field.column for field in model._meta.concrete_fields if not field.primary_key]
    changes = ", ".join(f'"{column}" = excluded."{column}"' for column in columns)
    statement = f'{_insertion(model)} ON CONFLICT ("{model._meta.pk.column}") DO UPDATE SET {changes}'
    adapted = list(zip(*_adapted(model, rows, connection), strict=True))
    with connection.cursor() as cursor:
        cursor.execute(statement, adapted[0]) if len(adapted) == 1 else cursor.executemany(statement, adapted)


@lru_cache(maxsize=64)
def _insertion(model: type[Model], rows: int = 1) -> str:
    columns = [f'"{field.column}"' for field in model._meta.concrete_fields]
    values = ", ".join([marks(columns)] * rows)
    return f'INSERT INTO "{model._meta.db_table}" ({", ".join(columns)}) VALUES {values}'  # noqa: S608


def _adapted(model: type[Model], rows: Sequence[Any], connection: BaseDatabaseWrapper) -> list[Column]:
    """The columns of the rows, each with its values as the driver takes them."""
    fields = model._meta.concrete_fields
    values = itemgetter(*[field.attname for field in fields])
    columns = zip(*[values(row.__dict__) for row in rows], strict=True)
    return [_adapt(field, column, connection) for field, column in zip(fields, columns, strict=True)]


def _adapt(field: Any, column: Column, connection: BaseDatabaseWrapper) -> Column:
    """The values of a column as `get_db_prep_save` of its field gives them."""
    plain = SQLITE if connection.vendor == "sqlite" else POSTGRESQL
    usual, quick = plain.get(type(field), (None, None))
    kinds = set(map(type, column))
    if kinds == {usual} and not getattr(field, "encoder", None):  # a JSONField may have one
        return quick(column) if quick else column
    if usual is str and all(issubclass(kind, str) for kind in kinds):
        return list(map(str.__str__, column))  # a choice is a subclass of str, which the driver does not take
    return [field.get_db_prep_save(value, connection) for value in column]
