"""The user: registered, active or inactive, erased in the end. One e-mail address has one active user."""

import unicodedata
from uuid import UUID

from apps.eventlog.aggregates import Aggregate, applies
from apps.users.events import (
    UserDeactivated,
    UserEmailChanged,
    UserErased,
    UserReactivated,
    UserRegistered,
    UserRenamed,
)

EMAIL = "users.email"


def email_key(email: str) -> str:
    """The form in which an address must be unique: NFKC, case-folded, without a dot at the end."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", email).casefold()).strip().rstrip(".")


class User(Aggregate):
    category = "user"

    email: str
    name: str
    active = False

    @property
    def owner(self) -> UUID | None:
        return self.id

    def register(self, email: str, name: str) -> None:
        self.require(self.version == 0, "a user registers once")
        self.claim(EMAIL, email_key(email))
        self.record(UserRegistered(email, name))

    def rename(self, name: str) -> None:
        self.require(self.active, "only an active user can be renamed")
        if name != self.name:
            self.record(UserRenamed(name))

    def change_email(self, email: str) -> None:
        self.require(self.active, "only an active user can change the e-mail address")
        if email != self.email:
            self.disclaim(EMAIL, email_key(self.email))
            self.claim(EMAIL, email_key(email))
            self.record(UserEmailChanged(email))

    def deactivate(self, reason: str) -> None:
        self.require(self.active, "only an active user can be deactivated")
        self.disclaim(EMAIL, email_key(self.email))
        self.record(UserDeactivated(reason))

    def reactivate(self) -> None:
        self.require(not self.active, "only an inactive user can be reactivated")
        self.claim(EMAIL, email_key(self.email))
        self.record(UserReactivated())

    def erase(self, reason: str) -> None:
        if not self.erased:
            if self.active:
                self.disclaim(EMAIL, email_key(self.email))
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
