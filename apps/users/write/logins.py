"""Logins. A password is not history, so it is not in the log but in Django's auth, in the database `default`.

The username of a customer's login is the user id. The reservation that keeps an e-mail address unique leads from the
address to the id, and unlike a read model it is never late.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any
from uuid import UUID

from django.contrib.admin.models import LogEntry
from django.contrib.auth import authenticate as check_password
from django.contrib.auth import get_user_model
from django.contrib.auth.backends import ModelBackend
from django.contrib.auth.models import AbstractBaseUser
from django.core.exceptions import PermissionDenied
from django.db import Error
from knox.models import AuthToken
from rest_framework.exceptions import Throttled

from apps.eventlog.api.throttles import address_of
from apps.eventlog.events import ERASED
from apps.users.write.credentials import end_sessions
from apps.users.write.failed_logins import counted
from apps.users.write.login_names import meant_by


@contextmanager
def opening(user_id: UUID, password: str | None) -> Iterator[None]:
    """Make a login for the user who registers in this block, and delete it if the registration is refused.

    If `password` is None, nobody can log in as this user. If a database fails, the login stays: the event may be
    committed nevertheless, and if it is not, the login is of no use to anybody.
    """
    login, _ = get_user_model().objects.get_or_create(username=str(user_id))
    login.set_password(password)
    login.save()
    try:
        yield
    except Error:
        raise
    except Exception:
        login.delete()
        raise


def set_open(user_id: UUID, open: bool) -> None:
    """Open or close the login of a user. Closing it revokes every token."""
    get_user_model().objects.filter(username=str(user_id)).update(is_active=open)
    if not open:
        AuthToken.objects.filter(user__username=str(user_id)).delete()


def remove(user_id: UUID) -> None:
    """Delete the login of a user, every token and session, and what the log of the admin says of the login."""
    login = get_user_model().objects.filter(username=str(user_id)).first()
    if login is not None:
        end_sessions(login)
        lines = LogEntry.objects.filter(content_type__app_label="auth", content_type__model="user")
        lines.filter(object_id=str(login.pk)).update(object_repr=ERASED, change_message="")
        login.delete()


def authenticate(username: str, password: str, address: str) -> AbstractBaseUser | None:
    """The login of an e-mail address (or of a member of staff) if the password is right, otherwise None.

    An unknown name takes as long as a wrong password. Raises Throttled after too many failures of this account, from
    this network address, or of both together.
    """
    names = meant_by(username)

    def check() -> AbstractBaseUser | None:
        found = (check_password(username=name, password=password) for name in names)
        return next((login for login in found if login is not None), None)

    return counted(username, names[0], address, check)


class PageBackend(ModelBackend):
    """Checks the passwords that a page sends, as the admin's login does, and counts their failures with the API's."""

    def authenticate(self, request: Any, username: Any = None, password: Any = None, **more: Any) -> Any:
        """The login, or None. After too many failures raises PermissionDenied, which looks like a wrong password."""
        check = partial(super().authenticate, request, username, password, **more)
        if request is None or username is None:
            return check()
        try:
            return counted(username, username, address_of(request), check)
        except Throttled:
            raise PermissionDenied from None
