"""Reactors answer events with commands or side effects. They follow the log live and are never replayed."""

import logging
import time
from collections import defaultdict
from collections.abc import Callable
from threading import Lock
from typing import ClassVar

from django.db.utils import InterfaceError, OperationalError

from apps.eventlog import attempts, checkpoints, store
from apps.eventlog.events import DomainEvent, RecordedEvent
from apps.eventlog.models import DeadLetter, Import
from apps.eventlog.projectors import marked_methods

logger = logging.getLogger(__name__)

GRACE = 5.0  # seconds; a reaction holds no checkpoint, so several workers may be at one for a while

PAUSE = 0.001  # seconds until the next look for an event that cannot be read yet; doubled each time
PATIENCE = 0.25  # seconds to look for it

_busy: defaultdict[str, Lock] = defaultdict(Lock)


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
    """React to everything in the log that this service's reactors have not seen, or until `stopped` says so.

    An event that a writer's mark hides from followers is waited for a moment; then it is left to who comes next.
    """
    for kind in [kind for kind in Reactor.registry.values() if kind.service == service]:
        place, pause, deadline = _place(kind), PAUSE, time.monotonic() + PATIENCE
        # Whoever finds it busy, as a reaction's own command does, leaves it the work: it looks again once it is free.
        while not stopped() and store.any_after(place, types=_types(kind)) and _busy[kind.name].acquire(blocking=False):
            before = place
            try:
                place, ahead = _drain(kind(), place, stopped)
            finally:
                _busy[kind.name].release()
            if place > before:
                pause, deadline = PAUSE, time.monotonic() + PATIENCE
            if ahead and not checkpoints.reached(service, ahead):
                break
            if place == before and not ahead:
                if time.monotonic() > deadline:
                    break
                time.sleep(pause)
                pause *= 2


def _drain(reactor: Reactor, place: int, stopped: Callable[[], bool]) -> tuple[int, int]:
    """React to what the rows show already; returns the place reached, and the event that is ahead of them or 0.

    What came with an import is passed over: it is history.
    """
    shown = min(checkpoints.places(reactor.service).values(), default=0)  # which was a safe position
    types = _types(type(reactor))
    known = store.read_page(after=place, end=shown, limit=store.PAGE, types=types) if shown > place else []
    for recorded in known or store.read_all(after=place, types=types):
        if last := Import.end_at(recorded.position):
            attempts.move(reactor.service, [reactor.name], last)
            return last, 0
        if stopped() or not (recorded.position <= shown or checkpoints.reached(reactor.service, recorded.position)):
            return place, recorded.position
        _react(reactor, recorded)
        attempts.move(reactor.service, [reactor.name], recorded.position)
        place = recorded.position
    return place, 0


def _types(kind: type[Reactor]) -> list[str]:
    return [event_type.type for event_type in kind.methods]


def _place(kind: type[Reactor]) -> int:
    place = checkpoints.all_places(kind.service).get(kind.name)
    if place is None:
        place = checkpoints.checkpoint_model(kind.service).objects.get_or_create(name=kind.name)[0].position
    return place


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
