"""The log in the admin, to read, and what the admin pages of every service share."""

import json
from collections.abc import Callable, Iterable
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from apps.eventlog import store
from apps.eventlog.aggregates import RuleBroken
from apps.eventlog.commands import Actor, Command
from apps.eventlog.dispatch import dispatch
from apps.eventlog.models import IdempotencyRecord, Reservation, StoredEvent


class ReadOnlyAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """Shows rows that nobody changes by hand: they follow from the log."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False


class DocumentAdmin(ReadOnlyAdmin):
    """A read model of one row a stream: its history, and a slider that shows it as it stood at any version."""

    change_form_template = "eventlog/admin/then.html"
    category: str

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        more = {
            "document_url": reverse(f"{self.category}-detail", args=[object_id]),
            "history": store.find(stream=f"{self.category}-{object_id}"),
        }
        return super().change_view(request, object_id, form_url, (extra_context or {}) | more)


class CheckpointAdmin(ReadOnlyAdmin):
    list_display = ("name", "position", "updated_at")


class DeadLetterAdmin(ReadOnlyAdmin):
    list_display = ("projector", "stream", "position", "status", "attempts", "error", "parked_at")
    list_filter = ("projector", "status")
    search_fields = ("stream",)


@admin.register(StoredEvent)
class EventAdmin(ReadOnlyAdmin):
    list_display = ("position", "recorded_at", "type", "stream", "stream_version")
    list_filter = ("category", "type")
    search_fields = ("=stream",)
    search_help_text = "a stream, as in order-<uuid>"
    ordering = ("-position",)
    show_full_result_count = False
    fields = ("position", "recorded_at", "type", "schema_version", "stream", "stream_version", "event_id")
    readonly_fields = ("payload", "about")

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return (*self.fields, *self.readonly_fields)

    @admin.display(description="data")
    def payload(self, event: StoredEvent) -> SafeString:
        return _pretty(event.data)

    @admin.display(description="metadata")
    def about(self, event: StoredEvent) -> SafeString:
        return _pretty(event.metadata)

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        event = self.get_object(request, object_id)
        more = _around(event) if isinstance(event, StoredEvent) else {}
        return super().change_view(request, object_id, form_url, (extra_context or {}) | more)


@admin.register(Reservation)
class ReservationAdmin(ReadOnlyAdmin):
    list_display = ("scope", "key", "stream")
    list_filter = ("scope",)
    search_fields = ("=key", "=stream")


@admin.register(IdempotencyRecord)
class IdempotencyRecordAdmin(ReadOnlyAdmin):
    list_display = ("digest", "started_at", "stream", "version", "position")
    search_fields = ("=stream",)


def send_with_reason(
    page: admin.ModelAdmin,  # type: ignore[type-arg]
    request: HttpRequest,
    rows: QuerySet[Any],
    verb: str,
    command: Callable[[Any, str], Command],
) -> HttpResponse | None:
    """An admin action that asks for a reason, sends a command for each row, and says which were refused and why."""
    reason = request.POST.get("reason", "").strip()
    if not reason:
        context = {
            **page.admin_site.each_context(request),
            "title": f"{verb} {len(rows)} {page.opts.verbose_name_plural}",
            "rows": rows,
            "verb": verb,
            "action": request.POST["action"],
            "checkbox": ACTION_CHECKBOX_NAME,
        }
        return render(request, "eventlog/admin/reason.html", context)
    actor = Actor(request.user.get_username(), is_staff=True)
    done = 0
    for row in rows:
        try:
            dispatch(command(row.pk, reason), actor=actor)
            done += 1
        except RuleBroken as rule:
            page.message_user(request, f"{row}: refused, {rule}", messages.WARNING)
    page.message_user(request, f"{verb}: {done} of {len(rows)} done")
    return None


def _pretty(value: Any) -> SafeString:
    return format_html('<pre style="margin: 0">{}</pre>', json.dumps(value, indent=2, ensure_ascii=False))


def _around(event: StoredEvent) -> dict[str, Any]:
    """The neighbours of an event in its stream, and all events of its correlation as a tree by causation."""
    stream = store.find(stream=event.stream)
    related = store.find(correlation_id=event.correlation_id) if event.correlation_id else []
    return {
        "earlier": stream.filter(stream_version=event.stream_version - 1).first(),
        "later": stream.filter(stream_version=event.stream_version + 1).first(),
        "caused": _tree(related),
    }


def _tree(events: Iterable[StoredEvent]) -> list[tuple[int, StoredEvent]]:
    """Each event with its depth below the one that caused it, causes before what they caused."""
    events = list(events)
    ids = {str(event.event_id) for event in events}

    def below(cause: str | None, depth: int) -> Iterable[tuple[int, StoredEvent]]:
        for event in events:
            causation = event.metadata.get("causation_id")
            if (causation if causation in ids else None) == cause:
                yield depth, event
                yield from below(str(event.event_id), depth + 1)

    return list(below(None, 0))
