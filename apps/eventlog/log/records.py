"""What goes into an engine of the log and what comes out of it."""

from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import NamedTuple
from uuid import UUID

from apps.eventlog.errors.texts import Impersonal
from apps.eventlog.events import RecordedEvent


class Expected(Enum):
    """In place of an expected version: whatever version the stream has, or whatever it has but 0.

    The value is what the function of PostgreSQL takes for it; a version is never below 0.
    """

    ANY = -1
    EXISTS = -2


class WrongExpectedVersion(Impersonal):
    """The stream is not at the version that the caller saw; `actual` is the version it is at."""

    def __init__(self, stream: str, expected: int | Expected, actual: int) -> None:
        wanted = "1 or more" if expected is Expected.EXISTS else expected
        super().__init__(f"{stream} is at version {actual}, not {wanted}")
        self.stream, self.expected, self.actual = stream, expected, actual


class EventIdTaken(Impersonal):
    """Another event, or another append, has the id. `event_id` is the id, `whose` says which event has it."""

    def __init__(self, event_id: UUID, whose: "RecordedEvent | Row | str") -> None:
        self.event_id = event_id
        self.whose = (
            whose if isinstance(whose, str) else f"{whose.type} at version {whose.stream_version} of {whose.stream}"
        )
        super().__init__(f"the event id {event_id} is taken by {self.whose}")


@dataclass(frozen=True, slots=True)
class Appended:
    """Where an append ended: the position and the stream version of its last event, and the positions of all."""

    position: int
    version: int
    positions: tuple[int, ...]


class Answer(NamedTuple):
    """What came of an append.

    `outcome` is "appended"; "repeated" if this append was sent before; "conflict" if the stream is at another version;
    or "taken" if an event of another append has one of the ids. `positions` are those of the events, and `version` is
    that of the last one; for a conflict, the version that the stream has. `taken` is the id.
    """

    outcome: str
    positions: list[int]
    version: int
    taken: UUID | None = None


class MarkHolder(NamedTuple):
    """Who holds an in-flight mark: no follower passes `position` while that append is open.

    It is a session with the process id `pid`, or a prepared transaction of the name `prepared`. `since` is when its
    transaction began, `seconds` is how long ago. PostgreSQL shows `state` and `client` only to a role that may see the
    session (None); then `since` is when the log took the first event that waits behind the mark.
    """

    position: int
    pid: int | None
    prepared: str | None
    role: str
    application: str
    client: str | None
    state: str | None
    since: datetime | None
    seconds: float

    @property
    def release(self) -> str:
        """The SQL that ends the append without a commit."""
        if self.pid is None:
            quoted = (self.prepared or "").replace("'", "''")
            return f"ROLLBACK PREPARED '{quoted}'"
        return f"SELECT pg_terminate_backend({self.pid})"


class Row(NamedTuple):
    """A recorded event to be written: its values in the order of the columns, without the category and the key."""

    position: int
    event_id: UUID
    stream: str
    stream_version: int
    type: str
    schema_version: int
    data: bytes
    metadata: bytes
    correlation_id: str | None
    recorded_at: datetime
