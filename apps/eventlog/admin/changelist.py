"""The list of events: pages by place and not by number, so that none is dearer than another."""

from typing import Any

from django.contrib.admin.views.main import PAGE_VAR, ChangeList
from django.db.models import Q, QuerySet
from django.db.models.expressions import Combinable
from django.http import HttpRequest

from apps.eventlog import store
from apps.eventlog.models import StoredEvent


class EventChangeList(ChangeList):
    """Newest first. `?p=<position>` is the page that begins with that event; nothing is counted.

    Bounded in time the order is by `recorded_at`, otherwise by position: each has its index.
    """

    multi_page = can_show_all = show_full_result_count = False
    show_admin_actions = False

    def get_ordering(self, request: HttpRequest, queryset: QuerySet[StoredEvent]) -> list[str | Combinable]:
        bounded = {"since", "until"} & set(self.params)
        return ["-recorded_at", "-position"] if bounded else ["-position"]

    def get_results(self, request: HttpRequest) -> None:
        rows, size = self.queryset, self.list_per_page
        first = self._event_at(self.page_num) if PAGE_VAR in request.GET else None
        page = list((rows.filter(self._at_or_after(first)) if first else rows)[: size + 1])
        self.result_list, more = page[:size], len(page) > size
        self.result_count = self.full_result_count = len(self.result_list)
        self.newer = self.newest = self.older = self.oldest = ""
        upwards = rows.reverse()
        if first and page:
            above = list(upwards.exclude(pk=page[0].pk).filter(self._before(page[0]))[: size + 1])
            self.newest = self._link(None) if above else ""
            self.newer = self._link(above[size - 1] if len(above) > size else None) if above else ""
        if more:
            self.older = self._link(page[size])
            self.oldest = self._link(list(upwards[:size])[-1])

    def _event_at(self, position: int) -> StoredEvent | None:
        return store.find(position__lte=position).last() or store.find().first()

    def _at_or_after(self, event: StoredEvent) -> Q:
        """This event and what comes after it in the list: the older ones."""
        if not self._by_time:
            return Q(position__lte=event.position)
        same = Q(recorded_at=event.recorded_at, position__lte=event.position)
        return Q(recorded_at__lte=event.recorded_at) & (same | Q(recorded_at__lt=event.recorded_at))

    def _before(self, event: StoredEvent) -> Q:
        if not self._by_time:
            return Q(position__gt=event.position)
        same = Q(recorded_at=event.recorded_at, position__gt=event.position)
        return Q(recorded_at__gte=event.recorded_at) & (same | Q(recorded_at__gt=event.recorded_at))

    @property
    def _by_time(self) -> bool:
        return self.queryset.query.order_by[0] == "-recorded_at"

    def _link(self, event: Any) -> str:
        return self.get_query_string({PAGE_VAR: event.position if event else None})
