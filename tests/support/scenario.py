"""Given events, when a command, then events: an aggregate's behaviour in the language of its service.

    invoice = Scenario(Invoice)  # an aggregate class; its stream is a new one of that category
    invoice.given(InvoiceSent(...)).when(PayInvoice(invoice.id, ...)).then(InvoicePaid(...))

or, instead of `then`, `then_refused("is paid already")`.
"""

from collections.abc import Sequence
from typing import Self
from uuid import UUID, uuid4

from apps.eventlog import store
from apps.eventlog.aggregates import Aggregate, RuleBroken
from apps.eventlog.commands import SYSTEM, Actor, Command
from apps.eventlog.dispatch import dispatch
from apps.eventlog.events import DomainEvent, RecordedEvent


class Scenario:
    """One aggregate's stream: `given` fills it, `when` sends a command, `then...` looks at what came."""

    def __init__(self, kind: type[Aggregate]) -> None:
        self.id: UUID = uuid4()
        self.stream = f"{kind.category}-{self.id}"
        self.given_events: Sequence[DomainEvent] = ()
        self.error: Exception | None = None

    def given(self, *events: DomainEvent) -> Self:
        self.given_events = events
        store.append(self.stream, events, expected_version=0)
        return self

    def when(self, command: Command, actor: Actor = SYSTEM) -> Self:
        try:
            dispatch(command, actor=actor)
        except Exception as error:
            self.error = error
        return self

    def then(self, *events: DomainEvent) -> Self:
        """These events came, and no others."""
        if self.error:
            raise self.error
        assert [recorded.event for recorded in self._new()] == list(events)
        return self

    def then_refused(self, rule: str, kind: type[Exception] = RuleBroken) -> Self:
        """The command was refused for this reason and left nothing behind."""
        assert isinstance(self.error, kind), self.error
        assert rule in str(self.error)
        assert list(self._new()) == []
        return self

    def _new(self) -> Sequence[RecordedEvent]:
        return list(store.read_stream(self.stream, after_version=len(self.given_events)))
