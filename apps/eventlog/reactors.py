"""Reactors answer events with commands or side effects. They follow the log live; a replay does not run them."""

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, TypeVar
from uuid import UUID

from django.conf import settings

from apps.eventlog import commands
from apps.eventlog.commands import Reaction, derived_id
from apps.eventlog.events import DomainEvent, RecordedEvent
from apps.eventlog.monitoring import origin, spans
from apps.eventlog.monitoring.origin import Origin
from apps.eventlog.projectors import Projector, marked_methods
from apps.eventlog.registry import Registry

Method = TypeVar("Method", bound=Callable[[Any, Sequence[UUID]], str])


def foresees(event_type: type[DomainEvent]) -> Callable[[Method], Method]:
    """Mark the method of a reactor that says what it will do if this happens to streams with these ids.

    It returns one sentence, or "" for nothing. Pages show it before somebody sends the command.
    """

    def mark(method: Method) -> Method:
        method.__dict__["foresees"] = event_type
        return method

    return mark


def foreseen(event_type: type[DomainEvent], ids: Sequence[UUID]) -> list[str]:
    """What all reactors will do if this happens to streams with these ids, in sentences."""
    kinds = sorted(Reactor.registry.values(), key=lambda kind: kind.name)
    methods = [(kind, getattr(kind, name)) for kind in kinds for name in dir(kind)]
    found = (method(kind(), ids) for kind, method in methods if getattr(method, "foresees", None) is event_type)
    return [sentence for sentence in found if sentence]


class Reactor:
    """Base of every reactor, in a service's `reactors.py`. Its methods marked `@on` take `(event, recorded)`.

    A reactor may get an event twice, after a crash or from two workers. So a reaction must have the same effect however
    often it runs. A command that it sends by `dispatch(command, cause=recorded)` takes effect once: its id follows from
    the event, the reactor, and the ids and numbers in the command. So these must be the same each time: the id of
    something new is `self.new_id(recorded)` and not a random one. When a reaction runs, the service's own rows show the
    event, and perhaps later ones.
    """

    registry: ClassVar[Registry[type["Reactor"]]] = Registry("readers", beside=[Projector.registry])
    methods: ClassVar[dict[type[DomainEvent], str]]
    service: ClassVar[str]
    name: ClassVar[str]

    def __init_subclass__(cls) -> None:
        cls.service, cls.name = cls.__module__.split(".")[-2], cls.__name__
        cls.methods = marked_methods(cls)
        if cls.service not in settings.LEFT_OUT:
            Reactor.registry.add(cls.name, cls)

    def react(self, recorded: RecordedEvent) -> None:
        """Call the method for this event. Raises what the method raises."""
        event, ids = recorded.event, Origin.of_event(recorded.metadata)
        token = commands.reaction.set(Reaction(f"{self.service}.{self.name}"))
        span = spans.later("react", ids.traceparent, reactor=self.name, position=recorded.position)
        try:
            with origin.within(ids), span:
                getattr(self, self.methods[type(event)])(event, recorded)
        finally:
            commands.reaction.reset(token)

    def new_id(self, recorded: RecordedEvent, *names: str) -> UUID:
        """The id of what this reactor makes because of an event: the same one, however often the event comes.

        With `names`, it is one of several.
        """
        return derived_id(recorded.event_id, f"{self.service}.{self.name}", "new", *names)
