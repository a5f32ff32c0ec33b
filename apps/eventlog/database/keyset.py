"""Pages by the place of a row in an ordering: each costs the same, however far down it is."""

from collections.abc import Sequence
from typing import Any

from django.db.models import Q, QuerySet


def ordering_of(rows: QuerySet[Any]) -> list[str]:
    return [str(name) for name in (rows.query.order_by or rows.model._meta.ordering)]


def columns_of(ordering: Sequence[str]) -> list[str]:
    return [name.lstrip("-") for name in ordering]


def upside_down(ordering: Sequence[str]) -> list[str]:
    return [name[1:] if name.startswith("-") else f"-{name}" for name in ordering]


def beyond(ordering: Sequence[str], values: Sequence[Any], *, inclusive: bool = False) -> Q:
    """Rows after the one with these values, and with `inclusive` also that one.

    The row comparison, spelled so that an index serves it. The columns of the ordering share a direction and end in
    a unique one; there is a value for each.
    """
    columns = columns_of(ordering)
    lookup = "lt" if ordering[0].startswith("-") else "gt"
    rows = Q(**{f"{columns[-1]}__{lookup}{'e' if inclusive else ''}": values[-1]})
    for column, value in reversed(list(zip(columns[:-1], values[:-1], strict=True))):
        rows = Q(**{f"{column}__{lookup}e": value}) & (Q(**{f"{column}__{lookup}": value}) | rows)
    return rows
