"""Logins: a password is not history, so it lives in Django's auth, in `default`.

A customer's auth username is the user id; the e-mail address leads there by the reservation that
keeps it unique, which is never late.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any
from uuid import UUID

from django.contrib.auth import authenticate as check_password
from django.contrib.auth import get_user_model
from django.contrib.auth.backends import ModelBackend
from django.contrib.auth.models import AbstractBaseUser
from django.core.exceptions import PermissionDenied
from django.db import Error
from knox.models import AuthToken
from rest_framework.exceptions import Throttled

from apps.eventlog.api.throttles import address_of
from apps.users.write.failed_logins import counted
from apps.users.write.login_names import meant_by


@contextmanager
def opening(user_id: UUID, password: str | None) -> Iterator[None]:
    """A login for a user who registers in this block; taken away again where that is refused.

    Without a password nobody can log in as this user. Where a database fails, the login stays: the
    event may be committed all the same, and without one the login leads nowhere.
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
    """Allow or end the login of a user; ending it revokes every token."""
    get_user_model().objects.filter(username=str(user_id)).update(is_active=open)
    if not open:
        AuthToken.objects.filter(user__username=str(user_id)).delete()


def remove(user_id: UUID) -> None:
    """Take the login of a user away, and every token with it."""
    get_user_model().objects.filter(username=str(user_id)).delete()


def authenticate(username: str, password: str, address: str) -> AbstractBaseUser | None:
    """The login of an e-mail address (or of a member of staff) and its password, or None.

    An unknown name costs as much as a wrong password. Raises Throttled after too many failures of this account, from
    this address, or of both together.
    """
    names = meant_by(username)

    def check() -> AbstractBaseUser | None:
        found = (check_password(username=name, password=password) for name in names)
        return next((login for login in found if login is not None), None)

    return counted(username, names[0], address, check)


class PageBackend(ModelBackend):
    """Checks passwords; what a page sends (the admin's login) is counted with what the API is sent."""

    def authenticate(self, request: Any, username: Any = None, password: Any = None, **more: Any) -> Any:
        """The login, or None; raises PermissionDenied after too many failures, a refusal like any other."""
        check = partial(super().authenticate, request, username, password, **more)
        if request is None or username is None:
            return check()
        try:
            return counted(username, username, address_of(request), check)
        except Throttled:
            raise PermissionDenied from None
