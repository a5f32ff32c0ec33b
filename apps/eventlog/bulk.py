"""Many new rows at once: blank ones to fold into, and COPY (PostgreSQL) or executemany (SQLite) to write them."""

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from operator import attrgetter, itemgetter
from typing import Any
from uuid import UUID

from django.db import connections, models
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import Model
from django.db.models.base import ModelState


def _sqlite_instant(value: datetime) -> str:
    text = value.isoformat(" ")
    return text[:-6] if text.endswith("+00:00") else str(value.astimezone(UTC).replace(tzinfo=None))


# By field, what its values usually are and how the driver takes them: as they are (None), or by a function that
# is quicker than the field's own. Any other value or field goes through the field.
Plain = dict[type, tuple[type, Callable[[Any], Any] | None]]
PLAIN: Plain = {
    models.CharField: (str, None),
    models.TextField: (str, None),
    models.BooleanField: (bool, None),
    models.IntegerField: (int, None),
    models.BigIntegerField: (int, None),
    models.PositiveIntegerField: (int, None),
}
POSTGRESQL = PLAIN | {models.UUIDField: (UUID, None), models.DateTimeField: (datetime, None)}
SQLITE = PLAIN | {models.UUIDField: (UUID, attrgetter("hex")), models.DateTimeField: (datetime, _sqlite_instant)}


def blank_rows(model: type[Model]) -> Callable[[UUID], Any]:
    """A function that makes new instances of a model by primary key, several times faster than calling it."""
    defaults = {name: value for name, value in vars(model()).items() if name != "_state"}
    key = model._meta.pk.attname

    def blank(pk: UUID) -> Any:
        row = model.__new__(model)
        row.__dict__.update(defaults)
        row.__dict__[key] = pk
        row._state = ModelState()
        return row

    return blank


def insert(model: type[Model], rows: Sequence[Any]) -> None:
    """Insert rows that are not there yet; like `bulk_create` without `save` or signals, and faster."""
    if not rows:
        return
    connection = connections[model._meta.app_label]
    fields = model._meta.concrete_fields
    names = ", ".join(f'"{field.column}"' for field in fields)
    values = itemgetter(*[field.attname for field in fields])
    columns = zip(*[values(row.__dict__) for row in rows], strict=True)
    adapted = [_adapt(field, column, connection) for field, column in zip(fields, columns, strict=True)]
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            with cursor.copy(f'COPY "{model._meta.db_table}" ({names}) FROM STDIN') as copy:
                for row in zip(*adapted, strict=True):
                    copy.write_row(row)
        else:
            marks = ", ".join(["%s"] * len(fields))
            into = f'INSERT INTO "{model._meta.db_table}" ({names}) VALUES ({marks})'  # noqa: S608
            cursor.executemany(into, list(zip(*adapted, strict=True)))


def _adapt(field: Any, column: Sequence[Any], connection: BaseDatabaseWrapper) -> Iterable[Any]:
    """The values of a column as the driver takes them: those of `get_db_prep_save`."""
    plain = SQLITE if connection.vendor == "sqlite" else POSTGRESQL
    usual, quick = plain.get(type(field), (None, None))
    if set(map(type, column)) == {usual}:
        return map(quick, column) if quick else column
    return [field.get_db_prep_save(value, connection) for value in column]
