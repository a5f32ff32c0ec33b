"""Reactors answer events with commands or side effects. They follow the log live; a replay does not run them."""

from typing import ClassVar

from apps.eventlog.events import DomainEvent, RecordedEvent
from apps.eventlog.monitoring import origin, spans
from apps.eventlog.monitoring.origin import Origin
from apps.eventlog.projectors import marked_methods


class Reactor:
    """Base of every reactor, in a service's `reactors.py`. Its methods marked `@on` take `(event, recorded)`.

    A reactor may get an event twice, after a crash or from two workers. So a reaction must have the same effect however
    often it runs. When it runs, the service's own rows show the event, and perhaps later ones.
    """

    registry: ClassVar[dict[str, type["Reactor"]]] = {}
    methods: ClassVar[dict[type[DomainEvent], str]]
    service: ClassVar[str]
    name: ClassVar[str]

    def __init_subclass__(cls) -> None:
        cls.service, cls.name = cls.__module__.split(".")[-2], cls.__name__
        cls.methods = marked_methods(cls)
        Reactor.registry[cls.name] = cls

    def react(self, recorded: RecordedEvent) -> None:
        """Call the method for this event. Raises what the method raises."""
        event, ids = recorded.event, Origin.of_event(recorded.metadata)
        with origin.within(ids), spans.later("react", ids.traceparent, reactor=self.name, position=recorded.position):
            getattr(self, self.methods[type(event)])(event, recorded)
