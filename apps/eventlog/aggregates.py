"""Aggregates decide: events are folded into their state, and their methods record new events."""

from collections.abc import Callable, Iterable
from typing import Any, ClassVar, Self, TypeVar
from uuid import UUID

from apps.eventlog.events import DomainEvent, RecordedEvent, UnknownEvent
from apps.eventlog.registry import Registry

Applier = TypeVar("Applier", bound=Callable[..., None])


class Erased(Exception):
    """The person was erased, so nothing about them may be recorded any more."""


class RuleBroken(Exception):
    """A rule of the business forbids the command; the message is the rule."""


def applies(event_type: type[DomainEvent]) -> Callable[[Applier], Applier]:
    """Mark the method of an aggregate that assigns what this event says."""

    def mark(method: Applier) -> Applier:
        method.__dict__["applies_to"] = event_type
        return method

    return mark


class Aggregate:
    """Base of every aggregate: one stream, `<category>-<id>`, folded by methods marked `@applies`.

    `version` counts the recorded events, `last` is the last of them, and `position` is the position of that one.
    `pending_events` are what the methods have decided and the repository has not stored yet.
    """

    registry: ClassVar[Registry[type["Aggregate"]]] = Registry("categories of aggregates")
    category: ClassVar[str]
    holds_form: ClassVar[int] = 1
    erased = False
    _appliers: ClassVar[dict[type[DomainEvent], str]] = {}

    def __init_subclass__(cls) -> None:
        Aggregate.registry.add(cls.category, cls)
        marked = {getattr(method, "applies_to", None): name for name, method in vars(cls).items()}
        cls._appliers = {event: name for event, name in marked.items() if event is not None}

    def __init__(self, id: UUID) -> None:
        self.id = id
        self.version = 0
        self.position = 0
        self.last: RecordedEvent | None = None
        self.pending_events: list[DomainEvent] = []

    @property
    def stream(self) -> str:
        return f"{self.category}-{self.id}"

    @property
    def owner(self) -> UUID | None:
        """The user who owns this. The first event decides it for ever. None means that only staff may touch it."""
        return None

    def holds(self) -> set[tuple[str, str]]:
        """The values that this aggregate holds now and no other may hold: pairs of a scope and the value.

        If another version of the code gives another value for what is held already, it needs a higher `holds_form`.
        Then code of both versions cannot reserve side by side: see `reservations`.
        """
        return set()

    def apply(self, event: DomainEvent) -> None:
        getattr(self, self._appliers[type(event)])(event)

    def fold(self, history: Iterable[RecordedEvent]) -> Self:
        """Apply recorded events, oldest first. Raises `UnknownEvent` at one that this code cannot read or apply."""
        for recorded in history:
            event = recorded.event
            if type(event) not in self._appliers:
                raise UnknownEvent(f"{recorded.type} at position {recorded.position} is no event of {self.category}")
            self.apply(event)
            self.version, self.position, self.last = recorded.stream_version, recorded.position, recorded
        return self

    def record(self, event: DomainEvent) -> None:
        """Decide that this happens. The event is applied here at once, and enters the log with the next append."""
        self.apply(event)
        self.pending_events.append(event)

    @staticmethod
    def require(condition: Any, rule: str) -> None:
        """Raise `RuleBroken(rule)` unless the condition holds."""
        if not condition:
            raise RuleBroken(rule)
