"""What one transaction changes for a process: states, timers, and commands to send.

Each method of the process runs on a copy of the state. If it raises, or leaves something that cannot be stored, then
nothing of it is changed.
"""

from collections.abc import Callable, Collection
from datetime import datetime
from typing import Any

import msgspec
from django.utils import timezone

from apps.eventlog.commands import Command, derived_id
from apps.eventlog.dispatch import command_named, name_of
from apps.eventlog.events import Payload, Place, RecordedEvent
from apps.eventlog.models import OutgoingCommand, ProcessInstance, Timer
from apps.eventlog.processes import Process
from apps.eventlog.processing import tables

LONGEST_KEY = 200  # characters


class Changes:
    """The changes of some instances of a process, by their keys; `save` writes them."""

    def __init__(self, kind: type[Process], keys: Collection[str]) -> None:
        self.kind, self.instances, self.timers, self.commands = (
            kind,
            tables.instances(),
            tables.timers(),
            tables.commands(),
        )
        found = self.instances.objects.filter(id__in={self._id(key) for key in keys})
        self.rows: dict[str, ProcessInstance] = {row.key: row for row in found}
        self.changed: dict[str, ProcessInstance] = {}
        self.set_timers: dict[tuple[str, str], Timer | None] = {}
        self.to_send: list[OutgoingCommand] = []

    def take(self, recorded: RecordedEvent) -> None:
        """Let the process take an event. Raises what its method raises, and what says that this cannot be stored."""
        self._run(self.kind.key_of(recorded), recorded.place, "", lambda process: process.take(recorded))

    def fire(self, key: str, name: str, at: datetime, cause: Place) -> None:
        """Call the method for a timer, which an event led to. Raises likewise."""
        self._run(key, cause, f"{name} {at.isoformat()}", lambda process: process.fire(name, at))

    def _run(self, key: str, cause: Place, step: str, act: Callable[[Process], None]) -> None:
        if not 0 < len(key) <= LONGEST_KEY:
            raise ValueError(f"a key has 1 to {LONGEST_KEY} characters")
        row = self.rows.get(key) or self.instances(id=self._id(key), process=self.kind.name, key=key)
        process = self.kind(key, row.state)
        before = process.state()
        act(process)
        state = process.state()
        to_send = [self._outgoing(process, cause, step, n, command) for n, command in enumerate(process.sent)]
        if key in self.rows or state != before or to_send or any(process.woken.values()):
            row.state, row.position = state, cause.position
            self.rows[key] = self.changed[key] = row
        self.to_send += to_send
        for name, at in process.woken.items():
            self.set_timers[key, name] = self._timer(key, name, at, cause) if at else None

    def _id(self, *names: str) -> str:
        return " ".join([self.kind.name, *names])

    def _timer(self, key: str, name: str, at: datetime, cause: Place) -> Timer:
        about = {"position": cause.position, "event_id": cause.event_id}
        return self.timers(id=self._id(key, name), process=self.kind.name, key=key, name=name, at=at, **about)

    def _outgoing(self, process: Process, cause: Place, step: str, number: int, command: Command) -> OutgoingCommand:
        """The id of a command is that of its process, key and step: it is the same if the step is done again."""
        if cause.event_id is None:
            raise ValueError("a command follows from an event")
        return self.commands(
            command_id=derived_id(cause.event_id, f"{process.service}.{process.name}", process.key, step, str(number)),
            process=process.name,
            key=process.key,
            command=name_of(type(command)),
            content=content_of(command),
            position=cause.position,
            event_id=cause.event_id,
            try_at=timezone.now(),
        )

    def save(self) -> None:
        """Write the changes in the open transaction. What was there before of the same step is written over."""
        _upsert(self.instances, list(self.changed.values()), "id", ["state", "position", "updated_at"])
        wanted = [timer for timer in self.set_timers.values() if timer]
        _upsert(self.timers, wanted, "id", ["at", "position", "event_id", "attempts"])
        cleared = [self._id(*names) for names, timer in self.set_timers.items() if timer is None]
        if cleared:
            self.timers.objects.filter(id__in=cleared).delete()
        _upsert(self.commands, self.to_send, "command_id", ["status", "attempts", "try_at", "error"])


def _upsert(model: Any, rows: list[Any], unique: str, fields: list[str]) -> None:
    if rows:
        model.objects.bulk_create(rows, update_conflicts=True, unique_fields=[unique], update_fields=fields)


def content_of(command: Command) -> Payload:
    """A command as JSON values. Raises LookupError without a handler, ValueError if it would not read back equal."""
    kind = command_named(name_of(type(command)))
    content: Payload = msgspec.to_builtins(command, str_keys=True)
    if read(kind, content) != command:
        raise ValueError(f"{name_of(kind)} does not read back equal from JSON")
    return content


def read(kind: type[Command], content: Payload) -> Command:
    """The command that was stored. Raises `msgspec.ValidationError` if it does not fit its class any more."""
    return msgspec.convert(content, kind)
