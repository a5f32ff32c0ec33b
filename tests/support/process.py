"""Given events, when an event or a timer, then commands and timers: a process in the language of the business.

    deadline = ProcessScenario(PaymentDeadline)  # an instance of its own; its key is `deadline.id`
    deadline.given(OrderPlaced(...)).when("expired").then_sends(CancelUnpaidOrder(deadline.id, ...))
    deadline.when(OrderPaid(...)).then_sends().then_clears("expired")

Nothing is written. State and commands go through JSON after each step, as they do in the tables. `when` takes an event
or the name of a timer, and all of `then...` look at what came of that alone.
"""

from datetime import UTC, datetime, timedelta
from typing import Any, Self
from uuid import UUID, uuid4

import msgspec

from apps.eventlog.commands import Command
from apps.eventlog.events import DomainEvent, RecordedEvent
from apps.eventlog.processes import Process
from apps.eventlog.processing.changes import content_of, read

BEGINS = datetime(2026, 1, 1, tzinfo=UTC)


class ProcessScenario:
    """One instance of a process. `now` is the instant of its last step; each event is recorded a second later."""

    def __init__(self, kind: type[Process]) -> None:
        self.kind, self.id, self.now = kind, uuid4(), BEGINS
        self.state: dict[str, Any] = {}
        self.timers: dict[str, datetime] = {}
        self.sent: list[Command] = []
        self.woken: dict[str, datetime | None] = {}
        self.position = 0

    def given(self, *events: DomainEvent) -> Self:
        """It has taken these events before; what came of them counts no more."""
        for event in events:
            self._take(event)
        return self

    def when(self, happens: DomainEvent | str) -> Self:
        """It takes an event, or one of its timers fires, which must be set."""
        if isinstance(happens, str):
            assert happens in self.timers, f"the timer {happens!r} is not set"
            self.now = self.timers.pop(happens)
            self._run(str(self.id), lambda process: process.fire(happens, self.now))
        else:
            self._take(happens)
        return self

    def then_sends(self, *commands: Command) -> Self:
        """These commands, in this order, and no others."""
        assert self.sent == list(commands)
        return self

    def then_wakes(self, at: datetime, name: str | None = None) -> Self:
        """It sets this timer, or without a name its only one, to this instant."""
        woken = {timer: instant for timer, instant in self.woken.items() if instant is not None}
        assert woken == {name or next(iter(woken), name): at}
        return self

    def then_clears(self, *names: str) -> Self:
        """It takes these timers back, and sets none."""
        assert self.woken == dict.fromkeys(names)
        return self

    def then_waits(self) -> Self:
        """It sends nothing and touches no timer."""
        return self.then_sends().then_clears()

    def _take(self, event: DomainEvent) -> None:
        self.position, self.now = self.position + 1, self.now + timedelta(seconds=1)
        recorded = recorded_event(event, f"given-{self.id}", self.position, self.now)
        self._run(self.kind.key_of(recorded), lambda process: process.take(recorded))

    def _run(self, key: str, act: Any) -> None:
        assert key == str(self.id), f"this is for the instance of {key}, not for that of {self.id}"
        process = self.kind(key, self.state)
        act(process)
        self.state = msgspec.json.decode(msgspec.json.encode(process.state()))
        self.sent = [read(type(command), content_of(command)) for command in process.sent]
        self.woken = process.woken
        for name, at in process.woken.items():
            self.timers.pop(name, None)
            if at is not None:
                self.timers[name] = at


def recorded_event(event: DomainEvent, stream: str, position: int, at: datetime) -> RecordedEvent:
    """An event as the log would give it, without a log."""
    data, version = msgspec.Raw(msgspec.json.encode(event.payload())), event.schema_version
    id = UUID(int=position).hex
    return RecordedEvent(position, id, stream, position, event.type, version, data, msgspec.Raw(b"{}"), at)
