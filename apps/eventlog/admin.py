"""The log in the admin, to read."""

from django.contrib import admin
from django.db.models import Model
from django.http import HttpRequest

from apps.eventlog.models import IdempotencyRecord, Reservation, StoredEvent


class ReadOnlyAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """Shows rows that nobody changes by hand: they follow from the log."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False


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


@admin.register(Reservation)
class ReservationAdmin(ReadOnlyAdmin):
    list_display = ("scope", "key", "stream")
    list_filter = ("scope",)
    search_fields = ("=key", "=stream")


@admin.register(IdempotencyRecord)
class IdempotencyRecordAdmin(ReadOnlyAdmin):
    list_display = ("digest", "started_at", "stream", "version", "position")
    search_fields = ("=stream",)
