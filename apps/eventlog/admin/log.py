"""The log in the admin: a list of events, and for each its neighbours and what its request caused."""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import reduce
from operator import or_
from typing import Any
from uuid import UUID

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString

from apps.eventlog import store
from apps.eventlog.admin import searching
from apps.eventlog.admin.changelist import EventChangeList
from apps.eventlog.admin.documents import causes_of
from apps.eventlog.admin.filters import CategoryFilter, CorrelationFilter, TimeFilter, TypeFilter, ValuesFilter
from apps.eventlog.admin.html import actor_link, bullets, event_link, events_link, main_pages, pretty, stream_link
from apps.eventlog.admin.readonly import ReadOnlyAdmin
from apps.eventlog.events import stream_named
from apps.eventlog.models import IdempotencyRecord, Import, Relay, Reservation, Seal, StoredEvent
from apps.eventlog.relay import heartbeats

RELATED = 500  # events of one correlation on one page
NAMED = 20  # ids in the data of an event that are looked up


@admin.register(StoredEvent)
class EventAdmin(ReadOnlyAdmin):
    about_it = "Everything that has happened, in order."
    change_form_template = "eventlog/admin/event.html"
    list_display = ("position", "recorded", "current_type", "of", "version")
    list_filter = (CategoryFilter, TypeFilter, TimeFilter, CorrelationFilter)
    search_fields = ("stream",)
    search_hint = "A stream (order-<uuid>), the id of an order, a user or an event, its beginning, or a position."
    findable = True
    actions = None
    fields = (
        *("position", "recorded", "named", "schema_version", "of", "version", "event_id"),
        *("by", "caused_by", "correlation", "payload", "names", "about"),
    )
    readonly_fields = (
        "recorded",
        "named",
        "of",
        "version",
        "by",
        "caused_by",
        "correlation",
        "payload",
        "names",
        "about",
    )

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return EventChangeList

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[StoredEvent], search_term: str
    ) -> tuple[QuerySet[StoredEvent], bool]:
        """Only what an index finds: positions, ids and their beginnings, streams."""
        term = stream_named(search_term.strip())
        if not term:
            return queryset, False
        positions = searching.events(term)
        whole = len(searching.digits_of(term)) == 32 and positions  # the id of an event is no other's
        streams = [] if whole else searching.streams(term)
        positions += [int(term)] if term.isdecimal() else []
        # One condition if one is enough: with two, a planner may read the whole log.
        ways = [Q(pk__in=positions)] * bool(positions) + [Q(stream__in=streams)] * bool(streams)
        return (queryset.filter(reduce(or_, ways)) if ways else queryset.none()), False

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

    @admin.display(description="stream")
    def of(self, event: StoredEvent) -> SafeString:
        return stream_link(event.stream)

    @admin.display(description="by")
    def by(self, event: StoredEvent) -> SafeString:
        who, command = actor_link(event.metadata.get("actor", "")), event.metadata.get("command", "")
        return format_html("{}, by {}", who, command) if command else who

    @admin.display(description="caused by")
    def caused_by(self, event: StoredEvent) -> SafeString | str:
        [cause] = causes_of([event])
        return (
            event_link(cause.position, f"{cause.current_type} at position {cause.position}") if cause else "the command"
        )

    @admin.display(description="correlation id")
    def correlation(self, event: StoredEvent) -> SafeString | str:
        id = event.metadata.get("correlation_id", "")
        return events_link(id, correlation_id=id) if id else "none"

    @admin.display(description="also about")
    def names(self, event: StoredEvent) -> SafeString | str:
        """Other streams that the data names by their ids."""
        found = [stream_link(stream) for stream in named_streams(event.data) if stream != event.stream]
        return bullets(found) if found else "no other stream"

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
            "caused": [(depth, event, stream_link(event.stream)) for depth, event in causation_tree(related[:RELATED])],
            "more": len(related) > RELATED,
        }


@admin.register(Reservation)
class ReservationAdmin(ReadOnlyAdmin):
    is_machinery = True
    list_display = ("scope", "key", "stream")
    list_filter = (("scope", ValuesFilter),)
    search_fields = ("=key", "=stream")


@admin.register(IdempotencyRecord)
class IdempotencyRecordAdmin(ReadOnlyAdmin):
    is_machinery = True
    list_display = ("digest", "started_at", "stream", "version", "position")
    search_fields = ("=stream",)


@admin.register(Import)
class ImportAdmin(ReadOnlyAdmin):
    is_machinery = True
    list_display = ("first", "last", "imported_at")
    ordering = ("-first",)


@admin.register(Seal)
class SealAdmin(ReadOnlyAdmin):
    is_machinery = True
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


def named_streams(data: Any) -> list[str]:
    """The streams whose ids stand in the data of an event, in the order of their names."""
    ids = list(dict.fromkeys(_ids(data)))[:NAMED]
    return searching.existing([f"{category}-{id}" for category in main_pages() for id in ids])


def _ids(value: Any) -> Iterator[UUID]:
    """Every id in a JSON value. The values of an object or a list are at most 20 levels deep."""
    if isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _ids(inner)
    elif isinstance(value, str) and len(value) == 36:
        with suppress(ValueError):
            yield UUID(value)


@admin.register(Relay)
class RelayAdmin(ReadOnlyAdmin):
    """What relays have last said. The row of one that is no longer used can be deleted: then nobody is told of it."""

    is_machinery = True
    list_display = ("target", "running", "position", "beat_at", "error")
    readonly_fields = ("running",)
    search_fields = ("target",)
    actions = None

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """One that runs would be back in a moment."""
        runs = obj is not None and heartbeats.runs(obj)
        return not runs and self.may(request, "view") and self.may(request, "delete")

    @admin.display(boolean=True)
    def running(self, relay: Relay) -> bool:
        return heartbeats.runs(relay)
