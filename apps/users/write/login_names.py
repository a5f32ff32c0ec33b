"""One namespace of login names: the e-mail address of an active user is never the name of a login in Django's auth.

The two are in two databases, so two requests at the same instant may each take the same name, and a shell can make any
login. Then nobody is locked out: if a name means two logins, the password is tried with both.
"""

from typing import Any

from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError
from django.db import connections, router
from django.db.models import BooleanField, F, Func

from apps.eventlog import reservations
from apps.eventlog.reservations import Outdated, Reserved
from apps.users.events import email_key
from apps.users.write.aggregates import EMAIL, User

# The names of customers' logins are their ids. An index of the names with an `@` finds the few others: among a million
# logins that takes 0.03 ms, and to look at every name takes 137 ms (SQLite).
HAS_AT = {"sqlite": "instr({}, '@') > 0", "postgresql": "strpos({}, '@') > 0"}


def require_free(email: str) -> None:
    """Raise `Reserved` if a login of Django's auth has this address as its name."""
    key, logins = email_key(email), get_user_model()._default_manager
    template = HAS_AT[connections[logins.db].vendor].format("%(expressions)s")
    with_at = Func(F("username"), template=template, output_field=BooleanField())
    named = logins.filter(with_at).values_list("username", flat=True)
    if any(email_key(name) == key for name in named):
        raise Reserved(EMAIL, key)


def meant_by(name: str) -> list[str]:
    """The usernames in Django's auth that a name can mean, that of staff first; the name itself if there is none."""
    holder = reservations.reserved_by(EMAIL, email_key(name)) or ""
    names = [name, holder.removeprefix("user-")]
    known = set(get_user_model()._default_manager.filter(username__in=names).values_list("username", flat=True))
    return [each for each in names if each in known] or [name]


def require_no_address(name: str) -> None:
    """Raise `ValidationError` if this name is the e-mail address of an active user.

    This is a validator of the username, so the forms of the admin and `createsuperuser` call it.
    """
    if "@" not in name:
        return
    try:
        reservations.require_form(EMAIL, User.holds_form)
    except Outdated as error:
        raise ValidationError(str(error)) from error
    if reservations.reserved_by(EMAIL, email_key(name)):
        raise ValidationError("an active user has this e-mail address")


def add_index(using: str, **_: Any) -> None:
    """Add the index that `require_free` uses, after a migration of Django's auth."""
    login, connection = get_user_model(), connections[using]
    table = login._meta.db_table
    if using == router.db_for_write(login) and table in connection.introspection.table_names():
        with connection.cursor() as cursor:
            where = HAS_AT[connection.vendor].format("username")
            cursor.execute(f"CREATE INDEX IF NOT EXISTS {table}_with_at ON {table} (username) WHERE {where}")
