"""Many new rows at once: blank ones to fold into, and COPY (PostgreSQL) or an INSERT of many (SQLite) to write them."""

from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from itertools import chain
from operator import itemgetter
from typing import Any
from uuid import UUID

import msgspec
from django.db import connections, models, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import Model
from django.db.models.base import ModelState

from apps.eventlog.database.statements import ANY, Prepared, marks

Column = Sequence[Any]

VALUES = 3000  # of one statement on SQLite: more gain nothing, and unless built otherwise it takes 32,766 at most

_JSON = msgspec.json.Encoder(uuid_format="hex")


def _texts(column: Column) -> list[str]:
    """Values that JSON has as plain strings, as those strings: one call of C for a whole column."""
    return _JSON.encode(column).decode()[2:-2].split('","')


def _sqlite_instants(column: Column) -> list[str]:
    texts = _JSON.encode([value if value.tzinfo is UTC else value.astimezone(UTC) for value in column])
    return texts.decode().replace("T", " ")[2:-3].split('Z","')


def _jsons(column: Column) -> list[str]:
    return [msgspec.json.encode(value).decode() for value in column]


# By field, what its values usually are and how the driver takes a column of them: as it is (None), or by a function
# that is quicker than the field's own. Any other value or field goes through the field.
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
SQLITE = PLAIN | {models.UUIDField: (UUID, _texts), models.DateTimeField: (datetime, _sqlite_instants)}

ESCAPES = str.maketrans({"\\": r"\\", "\n": r"\n", "\r": r"\r", "\t": r"\t"})


def _printed(column: Column) -> Iterable[str]:
    return map(str, column)


def _escaped(column: Column) -> Iterable[str]:
    everything = "".join(column)
    return [text.translate(ESCAPES) for text in column] if any(map(everything.__contains__, "\\\n\r\t")) else column


# By what the driver would take, how COPY has it in its text format.
COPIED: dict[type, Callable[[Column], Iterable[str]]] = {
    str: _escaped,
    int: _printed,
    bool: _printed,
    UUID: _texts,
    datetime: _texts,
}


def blank_rows(model: type[Model]) -> Callable[[UUID], Any]:
    """A function that makes new instances of a model by primary key, several times faster than calling it."""
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


def find(model: type[Model], keys: Collection[UUID]) -> dict[UUID, Any]:
    """The rows with these primary keys, by them; a single one, as after most commands, without making a query anew."""
    if len(keys) != 1:
        return models.QuerySet(model).in_bulk(keys) if keys else {}
    [key] = keys
    row = _by_key(model).instance({ANY: key})
    return {} if row is None else {key: row}


@lru_cache(maxsize=64)
def _by_key(model: type[Model]) -> Prepared:
    return Prepared(models.QuerySet(model).filter(pk=ANY))


def insert(model: type[Model], rows: Sequence[Any]) -> None:
    """Insert rows that are not there yet, all or none; like `bulk_create` without `save` or signals, and faster."""
    if not rows:
        return
    connection = connections[model._meta.app_label]
    columns = _adapted(model, rows, connection)  # before the transaction, in which on SQLite nobody else can write
    if connection.vendor == "postgresql":
        with transaction.atomic(using=connection.alias), connection.wrap_database_errors:
            _copy(connection, model, columns)
    else:
        _insert(connection, model, list(zip(*columns, strict=True)))


def _copy(connection: BaseDatabaseWrapper, model: type[Model], columns: Sequence[Column]) -> None:
    """As one text where every value has one of the usual types: half the work of giving the driver rows."""
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
    """Many rows a statement: a third less work, and Python's lock is let go of once a statement and not once a row."""
    many = VALUES // len(rows[0])
    whole = len(rows) - len(rows) % many
    statements = [list(chain.from_iterable(rows[start : start + many])) for start in range(0, whole, many)]
    with transaction.atomic(using=connection.alias), connection.cursor() as cursor:
        for values in statements:
            cursor.execute(_insertion(model, many), values)
        cursor.executemany(_insertion(model), rows[whole:])


def upsert(model: type[Model], rows: Sequence[Any]) -> None:
    """Insert rows, or write them over those that have their primary keys; in a fraction of `bulk_create`'s time."""
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
    """The columns of rows, with values as the driver takes them."""
    fields = model._meta.concrete_fields
    values = itemgetter(*[field.attname for field in fields])
    columns = zip(*[values(row.__dict__) for row in rows], strict=True)
    return [_adapt(field, column, connection) for field, column in zip(fields, columns, strict=True)]


def _adapt(field: Any, column: Column, connection: BaseDatabaseWrapper) -> Column:
    """The values of a column as the driver takes them: those of `get_db_prep_save`."""
    plain = SQLITE if connection.vendor == "sqlite" else POSTGRESQL
    usual, quick = plain.get(type(field), (None, None))
    kinds = set(map(type, column))
    if kinds == {usual} and not getattr(field, "encoder", None):  # which a field for JSON may have
        return quick(column) if quick else column
    if usual is str and all(issubclass(kind, str) for kind in kinds):
        return list(map(str.__str__, column))  # the value of a choice
    return [field.get_db_prep_save(value, connection) for value in column]
