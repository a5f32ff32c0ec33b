"""Reactors answer events with commands or side effects. They follow the log live and are never replayed."""

import logging
from collections import defaultdict
from collections.abc import Callable
from threading import Lock
from typing import ClassVar

from django.db.utils import InterfaceError, OperationalError
from django.utils import timezone

from apps.eventlog import attempts, checkpoints, store
from apps.eventlog.events import DomainEvent, RecordedEvent
from apps.eventlog.models import DeadLetter
from apps.eventlog.projectors import marked_methods

logger = logging.getLogger(__name__)

GRACE = 5.0  # seconds; a reaction holds no checkpoint, so several workers may be at one for a while

_busy: defaultdict[str, Lock] = defaultdict(Lock)


class StillBehind(Exception):
    """A reactor waits for rows that are not projected yet, so imported events cannot be passed over."""


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


def services_taking(types: set[str]) -> list[str]:
    """The services with a reactor that takes one of these event types."""
    return sorted({kind.service for kind in Reactor.registry.values() if types & set(_types(kind))})


def catch_up(service: str, stopped: Callable[[], bool] = lambda: False) -> None:
    """React to everything in the log that this service's reactors have not seen, or until `stopped` says so."""
    for kind in Reactor.registry.values():
        # A reaction's own command leads back here, finds its reactor busy and leaves it the rest.
        while kind.service == service and not stopped() and _busy[kind.name].acquire(blocking=False):
            try:
                place, ahead = _drain(kind(), stopped)
            finally:
                _busy[kind.name].release()
            # Whoever found it busy meanwhile has left it the work, so look again now that it is free.
            if not (checkpoints.reached(service, ahead) if ahead else _more(kind, place)):
                break


def _more(kind: type[Reactor], place: int, until: int | None = None) -> bool:
    later = store.find(type__in=_types(kind), position__gt=place)
    return (later if until is None else later.filter(position__lte=until)).exists()


def _drain(reactor: Reactor, stopped: Callable[[], bool]) -> tuple[int, int]:
    """React to what the rows show already; returns the place reached, and the event that is ahead of them or 0."""
    place = _place(type(reactor))
    row = checkpoints.checkpoint_model(reactor.service).objects.filter(name=reactor.name)
    for recorded in store.read_all(after=place, types=_types(type(reactor))):
        if stopped() or not checkpoints.reached(reactor.service, recorded.position):
            return place, recorded.position
        _react(reactor, recorded)
        moved = {"position": recorded.position, "attempts": 0, "updated_at": timezone.now()}
        row.filter(position__lt=recorded.position).update(**moved)
        place = recorded.position
    return place, 0


def pass_over(before: int, last: int) -> None:
    """Let no reactor answer the imported events after position `before` up to `last`: they are history.

    Raises `StillBehind` where a reactor cannot first answer what came before them.
    """
    for kind in Reactor.registry.values():
        row = checkpoints.checkpoint_model(kind.service).objects.filter(name=kind.name)
        catch_up(kind.service)
        if _more(kind, _place(kind), before):
            raise StillBehind(f"{kind.name} has yet to answer events up to position {before}")
        row.filter(position__lt=last).update(position=last)


def _types(kind: type[Reactor]) -> list[str]:
    return [event_type.type for event_type in kind.methods]


def _place(kind: type[Reactor]) -> int:
    row, _ = checkpoints.checkpoint_model(kind.service).objects.get_or_create(name=kind.name)
    return row.position


def _react(reactor: Reactor, recorded: RecordedEvent) -> None:
    begun = attempts.begin(reactor.service, [reactor.name])
    if begun and begun[0].position >= recorded.position:  # another was faster, so this count is not this event's
        attempts.withdraw(reactor.service, begun)
        return
    try:
        if begun and attempts.hopeless(reactor.service, begun[0], GRACE):
            raise attempts.ProcessEnded
        reactor.react(recorded)
    except (OperationalError, InterfaceError):
        attempts.withdraw(reactor.service, begun)
        raise
    except Exception as error:
        logger.exception("%s failed on event %s", reactor.name, recorded.position)
        checkpoints.dead_letter_model(reactor.service).objects.get_or_create(
            projector=reactor.name,
            position=recorded.position,
            defaults={
                "stream": recorded.stream,
                "status": DeadLetter.Status.FAILED,
                "attempts": begun[0].attempts if begun else 1,
                "error": f"{type(error).__name__}: {error}",
            },
        )
