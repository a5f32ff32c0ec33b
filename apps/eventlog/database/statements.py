"""Statements that nearly every request runs: plain, or built once, for building them costs more than running."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import connections
from django.db.models import QuerySet, UUIDField

Query = tuple[str, Sequence[Any]]  # a statement and its parameters


def rows(alias: str, statement: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
    """The rows that a plain statement answers; parameters in the form that the engine's driver takes."""
    with connections[alias].cursor() as cursor:
        cursor.execute(statement, parameters)
        return cursor.fetchall()


def run(alias: str, statement: str, parameters: Sequence[Any] = ()) -> None:
    """A plain statement that answers nothing."""
    with connections[alias].cursor() as cursor:
        cursor.execute(statement, parameters)


def marks(values: Iterable[Any]) -> str:
    """A list of placeholders, one a value, to stand behind IN."""
    return f"({', '.join('%s' for _ in values)})"


ANY = UUID(int=1)  # stands in for an id in statements that are made once


class Prepared:
    """A queryset with stand-ins among its parameters, to run again and again with values in their places."""

    def __init__(self, queryset: QuerySet[Any]) -> None:
        compiler = queryset.query.get_compiler(queryset.db)
        self.alias, self.model = queryset.db, queryset.model
        self.sql, self.parameters = compiler.as_sql()
        self.converters = compiler.get_converters([column for column, *_ in compiler.select])

    def first(self, values: Mapping[Any, Any]) -> list[Any] | None:
        """The selected columns of the first row, None where there is none; `values` by their stand-ins."""
        found = self.rows(values)
        return self.convert(found[0]) if found else None

    def rows(self, values: Mapping[Any, Any]) -> list[tuple[Any, ...]]:
        """All rows as the driver gives them, to `convert` where that is needed."""
        connection = connections[self.alias]
        given = {_plain(stand_in, connection): _plain(value, connection) for stand_in, value in values.items()}
        return rows(self.alias, self.sql, [given.get(parameter, parameter) for parameter in self.parameters])

    def convert(self, row: Sequence[Any]) -> list[Any]:
        """The columns of a row as their fields have them."""
        values, connection = list(row), connections[self.alias]
        for index, (converters, column) in self.converters.items():
            for convert in converters:
                values[index] = convert(values[index], column, connection)
        return values

    def instance(self, values: Mapping[Any, Any]) -> Any | None:
        """The first row as an instance of its model, of which every column is selected."""
        row = self.first(values)
        names = [field.attname for field in self.model._meta.concrete_fields]
        return None if row is None else self.model.from_db(self.alias, names, row)


def _plain(value: Any, connection: Any) -> Any:
    """A value as the driver has it among the parameters."""
    if isinstance(value, datetime):
        return connection.ops.adapt_datetimefield_value(value)
    return UUIDField().get_db_prep_value(value, connection) if isinstance(value, UUID) else value
