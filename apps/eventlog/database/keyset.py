"""Conditions for keyset pagination: a page far down takes as long as the first one."""

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

    It compares rows column by column, in a form for which both engines use an index. The columns of the ordering must
    share a direction, and the last one must be unique. `values` has one value for each column.
    """
    columns = columns_of(ordering)
    lookup = "lt" if ordering[0].startswith("-") else "gt"
    rows = Q(**{f"{columns[-1]}__{lookup}{'e' if inclusive else ''}": values[-1]})
    for column, value in reversed(list(zip(columns[:-1], values[:-1], strict=True))):
        rows = Q(**{f"{column}__{lookup}e": value}) & (Q(**{f"{column}__{lookup}": value}) | rows)
    return rows
