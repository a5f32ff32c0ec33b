"""Everything is delivered twice: `delivered_twice`, a fixture for the tests of any service.

While it is there, every reactor gets each event twice, one after the other, and every command of a process is sent
twice. It fails if the second time appends anything, or raises what the first time did not.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import pytest

from apps.eventlog import store
from apps.eventlog.events import RecordedEvent
from apps.eventlog.processing import sending
from apps.eventlog.reactors import Reactor


@pytest.fixture
def delivered_twice() -> Iterator[None]:
    """Deliver everything twice, and fail if that makes a difference."""
    with everything_twice() as faults:
        yield
    assert faults == []


@contextmanager
def everything_twice() -> Iterator[list[str]]:
    """Deliver everything twice within the block; the list is what is wrong with that."""
    faults: list[str] = []
    react, send = Reactor.react, sending._dispatch

    def react_twice(reactor: Reactor, recorded: RecordedEvent) -> None:
        react(reactor, recorded)
        _again(lambda: react(reactor, recorded), recorded, reactor.name, faults)

    def send_twice(row: Any, cause: RecordedEvent) -> Any:
        outcome = send(row, cause)
        _again(lambda: send(row, cause), cause, row.process, faults)
        return outcome

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Reactor, "react", react_twice)
        patch.setattr(sending, "_dispatch", send_twice)
        yield faults


def _again(deliver: Callable[[], object], cause: RecordedEvent, name: str, faults: list[str]) -> None:
    before = _caused_by(cause)
    try:
        deliver()
    except Exception as error:
        faults.append(f"{name} fails if {cause.type} comes again: {error!r}")
        raise
    if more := _caused_by(cause) - before:
        faults.append(f"{name} appends {len(more)} events more if {cause.type} comes again")


def _caused_by(cause: RecordedEvent) -> set[UUID]:
    """The events that followed from an event, also those that are not safe to read yet."""
    correlation, head = cause.metadata.get("correlation_id"), store.head()
    every = store.read_page(after=cause.position, end=head, limit=10_000, correlation_id=correlation)
    return {each.event_id for each in every if each.metadata.get("causation_id") == str(cause.event_id)}
