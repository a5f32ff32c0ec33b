"""The users service in the admin."""

from typing import Any

from django.contrib import admin
from django.contrib.auth import get_user_model
from django.contrib.auth.admin import UserAdmin as AuthUserAdmin
from django.contrib.auth.forms import AdminPasswordChangeForm
from django.contrib.auth.models import AbstractUser
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse

from apps.eventlog.admin.actions import act_with_reason, sending
from apps.eventlog.admin.documents import DocumentAdmin
from apps.eventlog.admin.readers import CheckpointAdmin, DeadLetterAdmin
from apps.users.events import email_key, is_email
from apps.users.models import Checkpoint, DeadLetter, User
from apps.users.write import credentials
from apps.users.write.commands import DeactivateUser, EraseUser


@admin.register(User)
class UserAdmin(DocumentAdmin):
    category = "user"
    list_display = ("name", "email", "status", "version", "registered_at", "updated_at")
    list_filter = ("status", "registered_at")
    search_fields = ("name", "email", "=id")
    search_hint = "Part of a name or of an e-mail address, or an id."
    actions = ("deactivate", "erase")

    def has_erase_permission(self, request: HttpRequest) -> bool:
        return self.may(request, "erase")

    def get_search_results(self, request: HttpRequest, queryset: QuerySet[User], search_term: str) -> Any:
        """A whole address finds its user in whatever form it is written."""
        if is_email(term := search_term.strip()):
            return queryset.filter(mailbox=email_key(term)), False
        return super().get_search_results(request, queryset, search_term)

    @admin.action(description="Deactivate, with a reason", permissions=["act"])
    def deactivate(self, request: HttpRequest, users: QuerySet[User]) -> HttpResponse | None:
        return act_with_reason(self, request, users, "Deactivate", sending(request, DeactivateUser))

    @admin.action(description="Erase for ever, with a reason that says nothing personal", permissions=["erase"])
    def erase(self, request: HttpRequest, users: QuerySet[User]) -> HttpResponse | None:
        return act_with_reason(self, request, users, "Erase", sending(request, EraseUser))


class PasswordForm(AdminPasswordChangeForm):  # type: ignore[type-arg]
    """Ends the tokens also if the login is left without a password, which Django reports to no validator."""

    def save(self, commit: bool = True) -> AbstractUser:
        login = super().save(commit)
        credentials.end_tokens(login)
        return login


admin.site.unregister(get_user_model())


@admin.register(get_user_model())
class LoginAdmin(AuthUserAdmin):  # type: ignore[type-arg]
    change_password_form = PasswordForm


admin.site.register(Checkpoint, CheckpointAdmin)
admin.site.register(DeadLetter, DeadLetterAdmin)
