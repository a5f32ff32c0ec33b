"""The tokens and sessions of a login: how many there are, and when they end."""

from typing import Any

from django.conf import settings
from django.contrib.auth import SESSION_KEY, get_user_model
from django.contrib.sessions.models import Session
from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils import timezone
from knox.models import AuthToken

from apps.eventlog import reservations
from apps.users.events import email_key
from apps.users.write.aggregates import EMAIL

LONGEST_PASSWORD = 128  # characters, all of which count


def issue(login: Any) -> tuple[AuthToken, str] | None:
    """A new token and its secret. If the login then has more than TOKENS_PER_LOGIN, the oldest ends.

    Locks the row of the login, or parallel requests could make more. None if the login was deactivated or got another
    password after its password was checked.
    """
    with transaction.atomic(using=AuthToken.objects.db):
        same = get_user_model()._default_manager.filter(pk=login.pk, is_active=True, password=login.password)
        if same.select_for_update().first() is None:
            return None
        token, secret = AuthToken.objects.create(login)
        mine = AuthToken.objects.filter(user=login)
        mine.filter(expiry__lt=timezone.now()).delete()
        newest = mine.order_by("-created", "digest").values_list("pk", flat=True)
        kept = {token.pk, *newest.exclude(pk=token.pk)[: settings.TOKENS_PER_LOGIN - 1]}
        mine.exclude(pk__in=kept).delete()
    return token, secret


def end_tokens(login: Any) -> None:
    AuthToken.objects.filter(user=login).delete()


def end_sessions(login: Any) -> None:
    """Delete every session of a login.

    Reads every session, because only its data says whose it is. They end after ten hours, so they are few.
    """
    mine = [row.pk for row in Session.objects.iterator() if row.get_decoded().get(SESSION_KEY) == str(login.pk)]
    Session.objects.filter(pk__in=mine).delete()


class PasswordRule:
    """A password validator for Django. Its forms, its commands and `set_password` call it.

    Refuses a user's own e-mail address as password, and a password that is longer than the API takes. Ends the tokens
    of a login when its password has changed. Sessions end by themselves, because each has a hash of the password.
    """

    def validate(self, password: str, user: Any = None) -> None:
        if len(password) > LONGEST_PASSWORD:
            raise ValidationError(
                f"The password has more than {LONGEST_PASSWORD} characters.", code="password_too_long"
            )
        holder = reservations.reserved_by(EMAIL, email_key(password)) if user and "@" in password else None
        if holder and holder == f"user-{user.get_username()}":
            raise ValidationError("The password is the e-mail address.", code="password_is_address")

    def password_changed(self, password: str, user: Any = None) -> None:
        end_tokens(user)

    def get_help_text(self) -> str:
        return f"Your password cannot be your e-mail address, and has at most {LONGEST_PASSWORD} characters."
