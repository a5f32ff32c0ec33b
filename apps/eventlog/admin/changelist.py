"""Lists whose pages begin at a row, not at a number, so that the last page costs no more than the first."""

from typing import Any

from django.contrib.admin.views.main import ORDER_VAR, PAGE_VAR, ChangeList
from django.core.exceptions import ObjectDoesNotExist, ValidationError
from django.db.models import QuerySet
from django.db.models.expressions import Combinable
from django.http import HttpRequest

from apps.eventlog.database.keyset import beyond, columns_of, ordering_of, upside_down


class KeysetChangeList(ChangeList):
    """`?p=<key>` is the page that begins with the row of this key. The rows are not counted.

    The order is always that of the model, for which there is an index.
    """

    multi_page = can_show_all = show_full_result_count = False
    show_admin_actions = True

    def get_ordering(self, request: HttpRequest, queryset: QuerySet[Any]) -> list[str | Combinable]:
        self.params.pop(ORDER_VAR, None)
        return super().get_ordering(request, queryset)

    def get_results(self, request: HttpRequest) -> None:
        rows, size = self.queryset, self.list_per_page
        order = ordering_of(rows)
        first = self._row(request.GET.get(PAGE_VAR))
        page = list(
            (rows.filter(beyond(order, _order_values(first, order), inclusive=True)) if first else rows)[: size + 1]
        )
        self.result_list, more = page[:size], len(page) > size
        self.result_count = self.full_result_count = len(self.result_list)
        self.previous = self.first = self.next = self.last = ""
        if first and page:
            over = beyond(upside_down(order), _order_values(page[0], order))
            above = list(rows.reverse().filter(over)[: size + 1])
            self.first = self._link(None) if above else ""
            self.previous = self._link(above[size - 1] if len(above) > size else None) if above else ""
        if more:
            self.next = self._link(page[size])
            self.last = self._link(list(rows.reverse()[:size])[-1])

    def _row(self, key: str | None) -> Any:
        try:
            return self.root_queryset.get(pk=key)
        except (ObjectDoesNotExist, ValidationError, ValueError):
            return None

    def _link(self, row: Any) -> str:
        return self.get_query_string({PAGE_VAR: row.pk if row else None})


class EventChangeList(KeysetChangeList):
    """Newest first: by `recorded_at` if the list is bounded in time, otherwise by position. Both have an index."""

    def get_ordering(self, request: HttpRequest, queryset: QuerySet[Any]) -> list[str | Combinable]:
        bounded = {"since", "until"} & set(self.params)
        return ["-recorded_at", "-position"] if bounded else ["-position"]


def _order_values(row: Any, order: list[str]) -> list[Any]:
    """The values by which a row is ordered."""
    return [getattr(row, column) for column in columns_of(order)]
