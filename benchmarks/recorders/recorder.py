"""A recorder of pyeventsourcing that keeps its events in the store of Headrace."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any
from uuid import UUID

from eventsourcing.persistence import ApplicationRecorder, IntegrityError, Notification, StoredEvent

from apps.eventlog import store
from apps.eventlog.events import DomainEvent, RecordedEvent


@dataclass(frozen=True, slots=True)
class Kept(DomainEvent):
    """`version` is the one that pyeventsourcing gives it, `state` what it serialised."""

    version: int
    topic: str
    state: bytes


def stored(recorded: RecordedEvent) -> dict[str, Any]:
    event: Any = recorded.event
    id = UUID(recorded.stream.partition("-")[2])
    return {"originator_id": id, "originator_version": event.version, "topic": event.topic, "state": event.state}


class Recorder(ApplicationRecorder):
    """Their versions begin at 0 or 1, ours at 1: so an event keeps theirs, and the store counts."""

    def __init__(self, *, answers_positions: bool) -> None:
        self.answers_positions = answers_positions

    def insert_events(self, stored_events: Sequence[Any], **kwargs: Any) -> list[int] | None:
        try:
            with store.unit():
                parts = [
                    self._append(id, list(part)) for id, part in groupby(stored_events, lambda each: each.originator_id)
                ]
        except store.WrongExpectedVersion as conflict:
            raise IntegrityError(str(conflict)) from conflict
        return [position for part in parts for position in part] if self.answers_positions else None

    def _append(self, id: UUID, events: list[Any]) -> tuple[int, ...]:
        last: Any = store.last(f"kept-{id}")
        first = last.event.version + 1 if last else events[0].originator_version
        if [each.originator_version for each in events] != list(range(first, first + len(events))):
            raise IntegrityError(f"{id} is at version {first - 1}")
        news = [Kept(each.originator_version, each.topic, each.state) for each in events]
        expected = last.stream_version if last else 0
        return store.append(f"kept-{id}", news, expected_version=expected).positions

    def select_events(
        self, originator_id: Any, *, gt: Any = None, lte: Any = None, desc: bool = False, limit: Any = None
    ) -> list[Any]:
        history = (stored(recorded) for recorded in store.read_stream(f"kept-{originator_id}", backwards=desc))
        chosen = [
            StoredEvent(**each)
            for each in history
            if (gt is None or each["originator_version"] > gt) and (lte is None or each["originator_version"] <= lte)
        ]
        return chosen[:limit]

    def select_notifications(
        self, start: Any, limit: int, stop: Any = None, topics: Any = (), *, inclusive_of_start: bool = True
    ) -> list[Any]:
        after = max((start or 0) - (1 if inclusive_of_start else 0), 0)
        found: list[Any] = []
        for recorded in store.read_all(after=after, until=stop, limit=None if topics else limit):
            if len(found) < limit and (not topics or stored(recorded)["topic"] in topics):
                found.append(Notification(id=recorded.position, **stored(recorded)))
        return found

    def max_notification_id(self) -> int | None:
        return store.head() or None

    def subscribe(self, gt: Any = None, topics: Any = ()) -> Any:
        raise NotImplementedError  # no suite asks; the live stream has its own tests
