"""Business processes: what spans services, or waits for time.

A process follows the log, remembers a state of its own for each key, sends commands, and sets timers. State, timers and
commands to send are committed together with its checkpoint. See the room `processing` for who runs it.
"""

from collections.abc import Callable
from copy import copy
from datetime import datetime
from typing import Any, ClassVar, TypeVar, get_origin, get_type_hints
from uuid import UUID

import msgspec
from django.conf import settings

from apps.eventlog import projectors
from apps.eventlog.commands import Command
from apps.eventlog.events import DomainEvent, Payload, RecordedEvent, UnknownEvent, personal_fields
from apps.eventlog.projectors import Projector, marked_methods
from apps.eventlog.reactors import Reactor
from apps.eventlog.registry import DuplicateName, Registry

Method = TypeVar("Method", bound=Callable[..., None])


def on(event_type: type[DomainEvent], *, key: str | None = None) -> Callable[[Method], Method]:
    """Mark the method of a process that takes events of this type, as `(event, recorded)`.

    `key` is the field of the event that says which instance of the process takes it. Without it, that is the id of the
    event's stream.
    """
    if key is not None and key not in get_type_hints(event_type):
        raise TypeError(f"{event_type.__name__} has no field {key}")

    def mark(method: Method) -> Method:
        method.__dict__["key"] = key
        return projectors.on(event_type)(method)

    return mark


def timer(name: str) -> Callable[[Method], Method]:
    """Mark the method of a process that is called, without arguments, when the timer of this name is due."""

    def mark(method: Method) -> Method:
        method.__dict__["fires"] = name
        return method

    return mark


class Process:
    """Base of every process, in a file of its own under `apps/processes/`.

    Its state is the fields that the class declares, each with a type and the value that it begins with, as in
    `paid: bool = False`. Their values are kept as JSON for each `key`. Better keep ids in them than names or addresses.
    What is about a person all the same is marked, `called: Personal[str] = ""`, and an erasure of the person clears it.

    A method gets an event once, unless the log went back. A method that raises leaves no trace: its event, or its
    timer, is set aside, and what comes later for the same key waits behind it.
    """

    registry: ClassVar[Registry[type["Process"]]] = Registry("readers", beside=[Projector.registry, Reactor.registry])
    service: ClassVar[str] = "processes"  # the app, and the alias of the database, that hold what processes remember
    methods: ClassVar[dict[type[DomainEvent], str]]
    timers: ClassVar[dict[str, str]]
    name: ClassVar[str]
    state_type: ClassVar[type[msgspec.Struct]]
    personal: ClassVar[tuple[str, ...]]  # fields of the state

    key: str
    now: datetime  # when the event was recorded, or when the timer was due
    sent: list[Command]
    woken: dict[str, datetime | None]  # by the name of the timer; None clears it

    def __init_subclass__(cls) -> None:
        cls.methods, cls.timers, cls.state_type = marked_methods(cls), _timers(cls), _state_type(cls)
        cls.name, cls.personal = cls.__name__, personal_fields(cls)
        if cls.service not in settings.LEFT_OUT:
            Process.registry.add(cls.name, cls)

    def __init__(self, key: str, state: Payload | None = None) -> None:
        """The instance of a key, as its state says. Raises `msgspec.ValidationError` if the state does not fit."""
        fields = msgspec.structs.asdict(msgspec.convert(state or {}, self.state_type))
        self.__dict__.update(fields, key=key, sent=[], woken={})

    @property
    def id(self) -> UUID:
        """The key as a UUID; raises ValueError if it is none."""
        return UUID(self.key)

    def send(self, command: Command) -> None:
        """Send a command when what the method has changed is committed. Commands of one key go out in their order.

        Each takes effect once. If it fails it is tried again for some minutes, and then set aside.
        """
        self.sent.append(command)

    def wake(self, name: str, *, at: datetime) -> None:
        """Set a timer, or move it if it is set. Its method is called at that instant, or at once if that has passed."""
        self._require_timer(name)
        if at.tzinfo is None:
            raise ValueError(f"{self.name} wakes {name!r} at {at}, which has no time zone")
        self.woken[name] = at

    def clear(self, name: str) -> None:
        """Take a timer back, if it is set."""
        self._require_timer(name)
        self.woken[name] = None

    def take(self, recorded: RecordedEvent) -> None:
        """Call the method for an event. Raises what that raises, and `UnknownEvent`."""
        self.now, event = recorded.recorded_at, recorded.event
        getattr(self, self.methods[type(event)])(event, recorded)

    def fire(self, name: str, at: datetime) -> None:
        """Call the method for a timer that is due. Raises what that raises, and LookupError if there is none."""
        self._require_timer(name)
        self.now = at
        getattr(self, self.timers[name])()

    def state(self) -> Payload:
        """The state as JSON values. Raises `msgspec.ValidationError` if a value has not the declared type."""
        values: Payload = msgspec.to_builtins(
            {name: self.__dict__[name] for name in self.state_type.__struct_fields__}, str_keys=True
        )
        msgspec.convert(values, self.state_type)
        return values

    @classmethod
    def key_of(cls, recorded: RecordedEvent) -> str:
        """The key of the instance that takes an event."""
        method = cls.methods.get(DomainEvent.types[recorded.type], "")
        field = getattr(getattr(cls, method, None), "key", None)
        if field is None:
            return recorded.stream.partition("-")[2]
        try:
            return str(getattr(recorded.event, field))
        except UnknownEvent:
            return str(recorded.data.get(field, recorded.stream))

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in self.state_type.__struct_fields__ and name != "now":
            raise AttributeError(f"{self.name} does not declare {name}; write `{name}: {type(value).__name__} = ...`")
        super().__setattr__(name, value)

    def _require_timer(self, name: str) -> None:
        if name not in self.timers:
            raise LookupError(f"no method of {self.name} is marked @timer({name!r})")


def _timers(kind: type[Process]) -> dict[str, str]:
    """The names of the methods that are marked with `@timer`, by the name of the timer."""
    found: dict[str, str] = {}
    for method in dir(kind):
        if name := getattr(getattr(kind, method), "fires", None):
            if name in found:
                raise DuplicateName(f"{kind.__name__}: {found[name]} and {method} both take the timer {name!r}")
            found[name] = method
    return found


def _state_type(kind: type[Process]) -> type[msgspec.Struct]:
    """The declared fields as a type that msgspec can check.

    Raises TypeError for a field without a first value, and for what would hide something that every process has.
    """
    known = get_type_hints(Process)
    given = {*vars(kind), *vars(kind).get("__annotations__", {})}
    if hidden := known.keys() & given:
        raise TypeError(f"{kind.__name__}.{min(hidden)}: every process has that already; choose another name")
    hints = {name: hint for name, hint in get_type_hints(kind).items() if name not in known}
    fields = {name: hint for name, hint in hints.items() if get_origin(hint) is not ClassVar}
    if missing := [name for name in fields if not hasattr(kind, name)]:
        raise TypeError(f"{kind.__name__}.{missing[0]} needs a value that it begins with")
    return msgspec.defstruct(
        f"{kind.__name__}State", [(name, hint, copy(getattr(kind, name))) for name, hint in fields.items()]
    )
