"""Where each projector and reactor of a service is."""

from apps.eventlog.admin.readonly import ReadOnlyAdmin


class CheckpointAdmin(ReadOnlyAdmin):
    list_display = ("name", "position", "updated_at")
    actions = None
