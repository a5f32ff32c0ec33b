"""API tokens in the admin: a list, and a way to revoke them. Only logging in makes a token and shows its secret."""

from django.contrib import admin
from django.db.models import Model
from django.http import HttpRequest
from knox.models import AuthToken

admin.site.unregister(AuthToken)


@admin.register(AuthToken)
class TokenAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    list_display = ("token_key", "user", "created", "expiry")
    fields = list_display
    search_fields = ("token_key", "user__username")

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False
