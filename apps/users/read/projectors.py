"""From the events of users: the rows of users."""

from apps.eventlog.events import ERASED, RecordedEvent
from apps.eventlog.projectors import RowProjector, on
from apps.users.events import (
    UserDeactivated,
    UserEmailChanged,
    UserErased,
    UserReactivated,
    UserRegistered,
    UserRenamed,
    email_key,
)
from apps.users.models import User


class UserProjector(RowProjector):
    """One row for each user."""

    model, category = User, "user"

    @on(UserRegistered)
    def registered(self, row: User, event: UserRegistered, recorded: RecordedEvent) -> None:
        row.email, row.mailbox = event.email, email_key(event.email)
        row.name, row.status = event.name, User.Status.ACTIVE
        row.registered_at = recorded.recorded_at

    @on(UserRenamed)
    def renamed(self, row: User, event: UserRenamed, recorded: RecordedEvent) -> None:
        row.name = event.name

    @on(UserEmailChanged)
    def email_changed(self, row: User, event: UserEmailChanged, recorded: RecordedEvent) -> None:
        row.email, row.mailbox = event.email, email_key(event.email)

    @on(UserDeactivated)
    def deactivated(self, row: User, event: UserDeactivated, recorded: RecordedEvent) -> None:
        row.status = User.Status.INACTIVE

    @on(UserReactivated)
    def reactivated(self, row: User, event: UserReactivated, recorded: RecordedEvent) -> None:
        row.status = User.Status.ACTIVE

    @on(UserErased)
    def erased(self, row: User, event: UserErased, recorded: RecordedEvent) -> None:
        row.email, row.name, row.status = ERASED, ERASED, User.Status.INACTIVE
        row.mailbox = ""
