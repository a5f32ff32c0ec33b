"""The users service in the admin."""

from django.contrib import admin

from apps.eventlog.admin import CheckpointAdmin, DeadLetterAdmin, ReadOnlyAdmin
from apps.users.models import Checkpoint, DeadLetter, User


@admin.register(User)
class UserAdmin(ReadOnlyAdmin):
    list_display = ("name", "email", "status", "version", "registered_at", "updated_at")
    list_filter = ("status",)
    search_fields = ("name", "email", "=id")
    date_hierarchy = "registered_at"


admin.site.register(Checkpoint, CheckpointAdmin)
admin.site.register(DeadLetter, DeadLetterAdmin)
