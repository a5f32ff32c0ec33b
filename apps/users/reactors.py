"""What follows in Django's auth when a user is deactivated or comes back."""

from apps.eventlog import erasures
from apps.eventlog.events import RecordedEvent
from apps.eventlog.projectors import on
from apps.eventlog.reactors import Reactor
from apps.users.events import UserDeactivated, UserErased, UserReactivated
from apps.users.write import logins


class LoginsOfInactiveUsers(Reactor):
    """A deactivated user's login ends, with every token; a reactivated user may log in again."""

    @on(UserDeactivated)
    def deactivated(self, event: UserDeactivated, recorded: RecordedEvent) -> None:
        logins.set_open(recorded.stream_id, open=False)

    @on(UserReactivated)
    def reactivated(self, event: UserReactivated, recorded: RecordedEvent) -> None:
        logins.set_open(recorded.stream_id, open=True)


class Forgetting(Reactor):
    """An erased user's login goes with every token, then the data key: from here on nothing can be read."""

    @on(UserErased)
    def erased(self, event: UserErased, recorded: RecordedEvent) -> None:
        logins.remove(recorded.stream_id)
        erasures.carry_out(recorded.stream_id, recorded.position)
