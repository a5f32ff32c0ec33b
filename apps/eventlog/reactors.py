"""Reactors answer events with commands or side effects. They follow the log live and are never replayed."""

from typing import ClassVar

from apps.eventlog.events import DomainEvent, RecordedEvent
from apps.eventlog.projectors import marked_methods


class Reactor:
    """Base of every reactor, in a service's `reactors.py`. Methods marked `@on` take `(event, recorded)`.

    An event may come twice (after a crash, or from two workers), so a reaction must have the same
    effect however often it runs. It sees the service's own rows as of the event or later.
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
        event = recorded.event
        getattr(self, self.methods[type(event)])(event, recorded)
