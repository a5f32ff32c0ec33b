"""The log in the admin: a list of events, and for each its neighbours and what its request caused."""

from collections.abc import Iterable
from typing import Any
from uuid import UUID

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.safestring import SafeString

from apps.eventlog import store
from apps.eventlog.admin.changelist import EventChangeList
from apps.eventlog.admin.filters import CategoryFilter, CorrelationFilter, TimeFilter, TypeFilter, ValuesFilter
from apps.eventlog.admin.html import pretty
from apps.eventlog.admin.readonly import ReadOnlyAdmin
from apps.eventlog.events import stream_named
from apps.eventlog.models import IdempotencyRecord, Import, Relay, Reservation, Seal, StoredEvent

RELATED = 500  # events of one correlation on one page


@admin.register(StoredEvent)
class EventAdmin(ReadOnlyAdmin):
    change_form_template = "eventlog/admin/event.html"
    list_display = ("position", "recorded", "current_type", "stream", "version")
    list_filter = (CategoryFilter, TypeFilter, TimeFilter, CorrelationFilter)
    search_fields = ("stream",)
    search_hint = "A stream (order-<uuid>), an event id or a position."
    actions = None
    fields = ("position", "recorded", "named", "schema_version", "stream", "stream_version", "event_id")
    readonly_fields = ("recorded", "named", "payload", "about")

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return (*self.fields, "payload", "about")

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return EventChangeList

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[StoredEvent], search_term: str
    ) -> tuple[QuerySet[StoredEvent], bool]:
        """Only exact matches, because there is an index for each of them."""
        term = search_term.strip()
        if term.isdecimal():
            return queryset.filter(position=int(term)), False
        if (id := _uuid(term)) is not None:
            return queryset.filter(event_id=id), False
        return (queryset.filter(stream=stream_named(term)) if term else queryset), False

    @admin.display(description="recorded at")
    def recorded(self, event: StoredEvent) -> str:
        return f"{event.recorded_at:%Y-%m-%d %H:%M:%S.%f}"[:-3]

    @admin.display(description="type")
    def current_type(self, event: StoredEvent) -> str:
        return event.current_type

    @admin.display(description="type")
    def named(self, event: StoredEvent) -> str:
        return event.type if event.type == event.current_type else f"{event.current_type} (stored as {event.type})"

    @admin.display(description="version")
    def version(self, event: StoredEvent) -> int:
        return event.stream_version

    @admin.display(description="data")
    def payload(self, event: StoredEvent) -> SafeString:
        return pretty(store.event_at(event.position).data)  # with personal fields readable, or erased

    @admin.display(description="metadata")
    def about(self, event: StoredEvent) -> SafeString:
        return pretty(event.metadata)

    def page_context(self, request: HttpRequest, row: StoredEvent) -> dict[str, Any]:
        """The neighbours of an event in its stream, and the events of its correlation as a tree by causation."""
        stream = StoredEvent.objects.filter(stream=row.stream)
        same = StoredEvent.objects.filter(correlation_id=row.correlation_id).order_by("position")
        related = list(same[: RELATED + 1]) if row.correlation_id else [row]
        return {
            "earlier": stream.filter(stream_version=row.stream_version - 1).first(),
            "later": stream.filter(stream_version=row.stream_version + 1).first(),
            "caused": causation_tree(related[:RELATED]),
            "more": len(related) > RELATED,
        }


@admin.register(Reservation)
class ReservationAdmin(ReadOnlyAdmin):
    list_display = ("scope", "key", "stream")
    list_filter = (("scope", ValuesFilter),)
    search_fields = ("=key", "=stream")


@admin.register(IdempotencyRecord)
class IdempotencyRecordAdmin(ReadOnlyAdmin):
    list_display = ("digest", "started_at", "stream", "version", "position")
    search_fields = ("=stream",)


@admin.register(Import)
class ImportAdmin(ReadOnlyAdmin):
    list_display = ("first", "last", "imported_at")
    ordering = ("-first",)


@admin.register(Seal)
class SealAdmin(ReadOnlyAdmin):
    list_display = ("number", "after", "until", "events", "sealed_at", "signed")
    ordering = ("-number",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Seal]:
        return super().get_queryset(request).defer("leaves")

    @admin.display(boolean=True)
    def signed(self, seal: Seal) -> bool:
        return bool(seal.signature)


def causation_tree(events: Iterable[StoredEvent]) -> list[tuple[range, StoredEvent]]:
    """The events, each after the one that caused it and before the next one of the same cause.

    The length of the range that comes with an event is its depth in the tree.
    """
    events = list(events)
    ids = {str(event.event_id) for event in events}
    caused: dict[str, list[StoredEvent]] = {}
    for event in events:
        cause = event.metadata.get("causation_id")
        caused.setdefault(cause if cause in ids else "", []).append(event)
    tree = []
    todo = [(0, event) for event in reversed(caused.pop("", []))]
    while todo:
        depth, event = todo.pop()
        tree.append((range(depth), event))
        todo += [(depth + 1, effect) for effect in reversed(caused.pop(str(event.event_id), []))]
    return tree


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None


@admin.register(Relay)
class RelayAdmin(ReadOnlyAdmin):
    list_display = ("target", "position", "beat_at", "error")
    search_fields = ("target",)
    actions = None
