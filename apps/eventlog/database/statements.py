"""Plain statements, and what their parameters need."""

from collections.abc import Iterable, Sequence
from typing import Any

from django.db import connections

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
    """A list of placeholders, one for each value, as in `IN (%s, %s)`."""
    return f"({', '.join('%s' for _ in values)})"
