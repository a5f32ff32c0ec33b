"""The users service in the admin."""

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse

from apps.eventlog.admin import CheckpointAdmin, DeadLetterAdmin, DocumentAdmin, send_with_reason
from apps.users.models import Checkpoint, DeadLetter, User
from apps.users.write.commands import DeactivateUser


@admin.register(User)
class UserAdmin(DocumentAdmin):
    category = "user"
    list_display = ("name", "email", "status", "version", "registered_at", "updated_at")
    list_filter = ("status",)
    search_fields = ("name", "email", "=id")
    date_hierarchy = "registered_at"
    actions = ("deactivate",)

    @admin.action(description="Deactivate, with a reason")
    def deactivate(self, request: HttpRequest, users: QuerySet[User]) -> HttpResponse | None:
        return send_with_reason(self, request, users, "Deactivate", DeactivateUser)


admin.site.register(Checkpoint, CheckpointAdmin)
admin.site.register(DeadLetter, DeadLetterAdmin)
