"""The user: registered, active or inactive, erased in the end. One e-mail address has one active user."""

import re
import unicodedata
from uuid import UUID

from apps.eventlog.aggregates import Aggregate, applies
from apps.eventlog.events import ERASED
from apps.users.events import (
    UserDeactivated,
    UserEmailChanged,
    UserErased,
    UserReactivated,
    UserRegistered,
    UserRenamed,
    email_key,
    is_email,
)

EMAIL = "users.email"

CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
# Characters that Unicode has among the letters and symbols, and that show nothing.
BLANK = "\u00ad\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0"


def is_name(name: str) -> bool:
    """Something to read, without control characters, and not what a forgotten person is called."""
    seen = any(each not in BLANK and unicodedata.category(each)[0] not in "CZ" for each in name)
    return seen and not CONTROL.search(name) and name.strip() != ERASED


class User(Aggregate):
    category = "user"

    email: str
    name: str
    active = False

    @property
    def owner(self) -> UUID | None:
        return self.id

    def holds(self) -> set[tuple[str, str]]:
        return {(EMAIL, email_key(self.email))} if self.active else set()

    def register(self, email: str, name: str) -> None:
        self.require(self.version == 0, "a user registers once")
        self.require(is_email(email), "a user has an e-mail address")
        self.require(is_name(name), "a user has a name that can be read")
        self.record(UserRegistered(email, name))

    def rename(self, name: str) -> None:
        self.require(self.active, "only an active user can be renamed")
        self.require(is_name(name), "a user has a name that can be read")
        if name != self.name:
            self.record(UserRenamed(name))

    def change_email(self, email: str) -> None:
        self.require(self.active, "only an active user can change the e-mail address")
        self.require(is_email(email), "a user has an e-mail address")
        if email != self.email:
            self.record(UserEmailChanged(email))

    def deactivate(self, reason: str) -> None:
        self.require(self.active, "only an active user can be deactivated")
        self.record(UserDeactivated(reason))

    def reactivate(self) -> None:
        self.require(not self.active, "only an inactive user can be reactivated")
        self.record(UserReactivated())

    def erase(self, reason: str) -> None:
        if not self.erased:
            self.record(UserErased(reason))

    @applies(UserRegistered)
    def _registered(self, event: UserRegistered) -> None:
        self.email, self.name, self.active = event.email, event.name, True

    @applies(UserRenamed)
    def _renamed(self, event: UserRenamed) -> None:
        self.name = event.name

    @applies(UserEmailChanged)
    def _email_changed(self, event: UserEmailChanged) -> None:
        self.email = event.email

    @applies(UserDeactivated)
    def _deactivated(self, event: UserDeactivated) -> None:
        self.active = False

    @applies(UserReactivated)
    def _reactivated(self, event: UserReactivated) -> None:
        self.active = True

    @applies(UserErased)
    def _erased(self, event: UserErased) -> None:
        self.active, self.erased = False, True
