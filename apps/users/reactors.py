"""What happens to the login when a user is deactivated, reactivated or erased."""

from collections.abc import Sequence
from uuid import UUID

from apps.eventlog import erasures
from apps.eventlog.events import RecordedEvent
from apps.eventlog.projectors import on
from apps.eventlog.reactors import Reactor, foresees
from apps.users.events import UserDeactivated, UserErased, UserReactivated
from apps.users.write import logins


class LoginsOfInactiveUsers(Reactor):
    """Closes the login of a deactivated user and revokes every token. Opens it again for a reactivated user."""

    @on(UserDeactivated)
    def deactivated(self, event: UserDeactivated, recorded: RecordedEvent) -> None:
        logins.set_open(recorded.stream_id, open=False)

    @on(UserReactivated)
    def reactivated(self, event: UserReactivated, recorded: RecordedEvent) -> None:
        logins.set_open(recorded.stream_id, open=True)

    @foresees(UserDeactivated)
    def logins_to_close(self, users: Sequence[UUID]) -> str:
        return "Their login is closed, and every token of theirs ends."

    @foresees(UserReactivated)
    def logins_to_open(self, users: Sequence[UUID]) -> str:
        return "Their login is open again."


class Forgetting(Reactor):
    """Removes the login of an erased user and every token, then destroys the data key.

    From then on, nobody can read the personal fields.
    """

    @on(UserErased)
    def erased(self, event: UserErased, recorded: RecordedEvent) -> None:
        logins.remove(recorded.stream_id)
        erasures.carry_out(recorded.stream_id, recorded.position)

    @foresees(UserErased)
    def key_to_destroy(self, users: Sequence[UUID]) -> str:
        return (
            "The key of their personal data is destroyed: name and address become unreadable everywhere, also in the "
            "log. Their login is removed. Nobody can undo this."
        )
