"""The users service in the admin."""

from collections.abc import Callable, Sequence
from typing import Any

from django.contrib import admin
from django.contrib.auth import get_user_model
from django.contrib.auth.admin import UserAdmin as AuthUserAdmin
from django.contrib.auth.forms import AdminPasswordChangeForm
from django.contrib.auth.models import AbstractUser
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse

from apps.eventlog.admin.actions import Act, action, send
from apps.eventlog.admin.documents import DocumentAdmin
from apps.eventlog.admin.readers import CheckpointAdmin, DeadLetterAdmin
from apps.eventlog.events import ERASED, DomainEvent
from apps.eventlog.reactors import foreseen
from apps.users.events import UserDeactivated, UserErased, UserReactivated, email_key, is_email
from apps.users.models import Checkpoint, DeadLetter, User
from apps.users.write import credentials
from apps.users.write.commands import DeactivateUser, EraseUser, ReactivateUser


def unless_active(user: User) -> str:
    return "" if user.status == User.Status.ACTIVE else "the user is not active"


def unless_inactive(user: User) -> str:
    return if_erased(user) or ("the user is active" if user.status == User.Status.ACTIVE else "")


def if_erased(user: User) -> str:
    return "the user is erased" if user.email == ERASED else ""


def follows(event_type: type[DomainEvent]) -> Callable[[Sequence[User]], list[str]]:
    """What the reactors of all services will do if this happens to users."""
    return lambda users: foreseen(event_type, [user.pk for user in users]) if users else []


@admin.register(User)
class UserAdmin(DocumentAdmin):
    category, is_person = "user", True
    list_display = ("name", "email", "status", "version", "registered_at", "updated_at")
    list_filter = ("status", "registered_at")
    search_fields = ("name", "email", "=id")
    search_hint = "Part of a name or of an e-mail address, or an id or its beginning, of the user or an event."
    actions = ("deactivate", "reactivate", "erase")
    deactivate = action(
        Act("Deactivate", send(DeactivateUser), unless=unless_active, follows=follows(UserDeactivated)),
        description="Deactivate, with a reason",
    )
    reactivate = action(
        Act("Reactivate", send(ReactivateUser, with_text=False), "", unless_inactive, follows(UserReactivated)),
    )
    erase = action(
        Act("Erase for good", send(EraseUser), unless=if_erased, follows=follows(UserErased), for_good=True),
        permission="erase",
        description="Erase for good",
    )

    def has_erase_permission(self, request: HttpRequest) -> bool:
        return self.may(request, "erase")

    def page_context(self, request: HttpRequest, row: User) -> dict[str, Any]:
        all_of_it = ("Everything that is held about this person", reverse("user-personal-data", args=[row.pk]))
        return super().page_context(request, row) | {"more_links": [all_of_it]}

    def get_search_results(self, request: HttpRequest, queryset: QuerySet[User], search_term: str) -> Any:
        """A whole address finds its user in whatever form it is written."""
        if is_email(term := search_term.strip()):
            return queryset.filter(mailbox=email_key(term)), False
        return super().get_search_results(request, queryset, search_term)


class PasswordForm(AdminPasswordChangeForm):  # type: ignore[type-arg]
    """Ends the tokens also if the login is left without a password, which Django reports to no validator."""

    def save(self, commit: bool = True) -> AbstractUser:
        login = super().save(commit)
        credentials.end_tokens(login)
        return login


# A login is not a user: staff have logins too, and an erased user has none. So the two have two names.
get_user_model()._meta.verbose_name, get_user_model()._meta.verbose_name_plural = "login", "logins"
admin.site.unregister(get_user_model())


@admin.register(get_user_model())
class LoginAdmin(AuthUserAdmin):  # type: ignore[type-arg]
    change_password_form = PasswordForm


admin.site.register(Checkpoint, CheckpointAdmin)
admin.site.register(DeadLetter, DeadLetterAdmin)
