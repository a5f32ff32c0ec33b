"""Keyset pagination: page 10,000 takes as long as page 1."""

from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Any, TypeVar

from django.core import signing
from rest_framework.exceptions import ValidationError
from rest_framework.pagination import BasePagination
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.utils.urls import replace_query_param
from rest_framework.views import APIView

from apps.eventlog.api.filters import integer_parameter
from apps.eventlog.database.keyset import beyond, columns_of, ordering_of, upside_down

PARAMETERS = ("limit", "cursor")
MOST = 5 * 1024 * 1024  # bytes of the rows of a page, unless it has a single one
STEP = 101  # rows that are fetched at once before it is known how large they are; the usual pages are no larger
# Gets a number of rows (the last argument) in an order (the first), beyond the row with the values in between, if any.
Fetch = Callable[[list[str], list[Any], int], list[Any]]
ValuesOf = Callable[[Any], Sequence[Any]]
Row = TypeVar("Row")


def bounded(
    fetch: Callable[[Row | None, int], list[Row]], limit: int, size_of: Callable[[Row], int]
) -> tuple[list[Row], bool]:
    """As many rows as a page may have, and whether there are more: at most `limit`, and about MOST bytes.

    `fetch` gets so many rows beyond a row, or from the start if that is None. `size_of` tells the bytes of a row.
    """
    rows: list[Row] = []
    size, step = 0, min(limit + 1, STEP)
    while True:
        fetched = fetch(rows[-1] if rows else None, step)
        wanted = fetched[: limit - len(rows)]
        fitting = _fitting(list(accumulate(map(size_of, wanted), initial=size)), first=not rows)
        rows += wanted[:fitting]
        if fitting < len(fetched):
            return rows, True
        if len(fetched) < step:
            return rows, False
        size += sum(map(size_of, wanted))
        room = (MOST - size) * len(rows) // max(1, size)  # rows, if they are as large as those so far
        step = min(limit + 1 - len(rows), max(1, room + 1))


def _fitting(sizes: list[int], *, first: bool) -> int:
    """How many rows fit into a page, by its size before and after each of them; the first row of all always does."""
    fitting = len(sizes) - 1 if sizes[-1] <= MOST else bisect_right(sizes, MOST) - 1
    return max(fitting, int(first and len(sizes) > 1))


class KeysetPagination(BasePagination):
    """Pages by the values of the ordering columns, which end in a unique one and share a direction.

    A cursor is a signed list: `n` or `p` (towards the next or the previous page), the ordering, and the values of the
    row to go on from.
    """

    default_limit, max_limit = 50, 200
    salt = "cursor"

    def paginate_queryset(self, queryset: Any, request: Request, view: APIView | None = None) -> list[Any]:
        def fetch(order: list[str], values: list[Any], size: int) -> list[Any]:
            further = queryset.filter(beyond(order, values)) if values else queryset
            return list(further.order_by(*order)[:size])

        ordering = ordering_of(queryset)
        columns = columns_of(ordering)
        return self.page(request, ordering, fetch, lambda row: [getattr(row, name) for name in columns])

    def page(
        self,
        request: Request,
        ordering: list[str],
        fetch: Fetch,
        values_of: ValuesOf,
        size_of: Callable[[Any], int] = lambda _: 0,
    ) -> list[Any]:
        """The page that the request asks for, of the rows that `fetch` gets; it ends early if they are large.

        `values_of` gives the values of a row in the columns of the ordering, `size_of` its bytes. Raises
        ValidationError for a bad `limit` or `cursor`.
        """
        self.request, self.ordering = request, ordering
        limit = integer_parameter(request, "limit", self.default_limit, 1, self.max_limit)
        direction, values = self._cursor()
        backwards = direction == "p"
        order = upside_down(self.ordering) if backwards else self.ordering

        def beyond_row(row: Any, size: int) -> list[Any]:
            return fetch(order, values if row is None else list(values_of(row)), size)

        rows, more = bounded(beyond_row, limit, size_of)
        if backwards:
            rows.reverse()
        self.next = self._link("n", values_of(rows[-1])) if rows and (more or backwards) else None
        self.previous = self._link("p", values_of(rows[0])) if rows and (more if backwards else values) else None
        return rows

    def get_paginated_response(self, data: Any) -> Response:
        return Response({"results": data, "next": self.next, "previous": self.previous})

    def get_paginated_response_schema(self, schema: dict[str, Any]) -> dict[str, Any]:
        link = {"type": ["string", "null"], "format": "uri"}
        return {
            "type": "object",
            "required": ["results", "next", "previous"],
            "properties": {"results": schema, "next": link, "previous": link},
        }

    def get_schema_operation_parameters(self, view: APIView) -> list[dict[str, Any]]:
        limit = {"type": "integer", "minimum": 1, "maximum": self.max_limit, "default": self.default_limit}
        return [
            {"name": "limit", "in": "query", "schema": limit},
            {
                "name": "cursor",
                "in": "query",
                "schema": {"type": "string", "minLength": 1},
                "description": "from `next` or `previous`",
            },
        ]

    def _cursor(self) -> tuple[str, list[Any]]:
        token = self.request.query_params.get("cursor")
        if token is None:
            return "n", []
        try:
            direction, ordering, *values = signing.loads(token, salt=self.salt)
        except (signing.BadSignature, ValueError):
            raise ValidationError({"cursor": ["not a cursor of this list"]}) from None
        if ordering != self.ordering:
            raise ValidationError({"cursor": ["this cursor belongs to another ordering"]})
        return direction, values

    def _link(self, direction: str, values: Sequence[Any]) -> str:
        token = signing.dumps([direction, self.ordering, *[_plain(value) for value in values]], salt=self.salt)
        return replace_query_param(self.request.build_absolute_uri(), "cursor", token)


def _plain(value: Any) -> int | str:
    return value if isinstance(value, int) else value.isoformat() if hasattr(value, "isoformat") else str(value)
