"""Reactors answer events with commands or side effects. They follow the log live; a replay does not run them."""

from typing import ClassVar
from uuid import UUID

from django.conf import settings

from apps.eventlog import commands
from apps.eventlog.commands import Reaction, derived_id
from apps.eventlog.events import DomainEvent, RecordedEvent
from apps.eventlog.monitoring import origin, spans
from apps.eventlog.monitoring.origin import Origin
from apps.eventlog.projectors import Projector, marked_methods
from apps.eventlog.registry import Registry


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
