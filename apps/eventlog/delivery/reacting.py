"""Run the reactors of a service over what they have not seen."""

import logging
import time
from collections import defaultdict
from collections.abc import Callable, Collection
from threading import Lock

from django.db.utils import InterfaceError, OperationalError

from apps.eventlog import store
from apps.eventlog.delivery import checkpoints, claims
from apps.eventlog.delivery.claims import claim
from apps.eventlog.events import DomainEvent, RecordedEvent
from apps.eventlog.models import DeadLetter, Import
from apps.eventlog.reactors import Reactor

logger = logging.getLogger(__name__)

GRACE = 5.0  # seconds; a reaction locks no checkpoint, so several workers may be at the same event for a while
PATIENCE = 0.25  # seconds to wait for an event that cannot be read yet
PAUSE = 0.001  # seconds until the next look for it; doubled each time

_busy: defaultdict[str, Lock] = defaultdict(Lock)


def services_taking(types: Collection[str]) -> list[str]:
    """The services with a reactor that takes one of these event types."""
    return sorted({kind.service for kind in Reactor.registry.values() if set(types) & set(_types(kind))})


def catch_up(service: str, stopped: Callable[[], bool] = lambda: False) -> None:
    """React to everything in the log that this service's reactors have not seen, or until `stopped` answers true.

    An event that a writer's mark hides is waited for `PATIENCE` seconds. After that, the next call reacts to it.
    """
    for kind in [kind for kind in Reactor.registry.values() if kind.service == service]:
        position, pause, deadline = _position(kind), PAUSE, time.monotonic() + PATIENCE
        # A thread that finds the reactor busy, as the thread of a reaction's own command does, leaves it the work: the
        # busy thread looks at the log again once it has finished.
        while (
            not stopped() and store.any_after(position, types=_types(kind)) and _busy[kind.name].acquire(blocking=False)
        ):
            before = position
            try:
                position, ahead = _drain(kind(), position, stopped)
            finally:
                _busy[kind.name].release()
            if position > before:
                pause, deadline = PAUSE, time.monotonic() + PATIENCE
            if ahead and not checkpoints.reached(service, ahead):
                break
            if position == before and not ahead:
                if time.monotonic() > deadline:
                    break
                time.sleep(pause)
                pause *= 2


def _drain(reactor: Reactor, position: int, stopped: Callable[[], bool]) -> tuple[int, int]:
    """React to the events that the rows show already.

    Returns the position reached, and the position of the first event that the rows do not show yet, or 0. Imported
    events are passed over, because they are history; but an imported erasure is carried out here as well.
    """
    shown = checkpoints.lowest(reactor.service)  # which was a safe position
    types = _types(type(reactor))
    known = store.read_page(after=position, end=shown, limit=store.PAGE, types=types) if shown > position else []
    for each in known or store.read_all(after=position, types=types):
        recorded = each
        if last := Import.end_at(recorded.position):
            erasing = store.read_page(after=position, end=last, limit=1, types=_erasing(types))
            if not erasing:
                claims.move(reactor.service, [reactor.name], last)
                return last, 0
            [recorded] = erasing
        if stopped() or not (recorded.position <= shown or checkpoints.reached(reactor.service, recorded.position)):
            return position, recorded.position
        _react(reactor, recorded)
        claims.move(reactor.service, [reactor.name], recorded.position)
        position = recorded.position
    return position, 0


def _types(kind: type[Reactor]) -> list[str]:
    return [event_type.type for event_type in kind.methods]


def _erasing(types: list[str]) -> list[str]:
    return [name for name in types if DomainEvent.types[name].erases]


def _position(kind: type[Reactor]) -> int:
    position = checkpoints.recorded_positions(kind.service).get(kind.name)
    if position is None:
        position = checkpoints.checkpoint_model(kind.service).objects.get_or_create(name=kind.name)[0].position
    return position


def _react(reactor: Reactor, recorded: RecordedEvent) -> None:
    """Let the reactor have the event; a failure becomes a dead letter."""
    with claim(reactor.service, [reactor.name]) as claimed:
        if claimed and claimed[0].position >= recorded.position:
            claims.release(claimed)  # another worker has reacted, so this count is not this event's
            return
        try:
            if claimed and claimed[0].exhausted(GRACE):
                raise claims.ProcessEnded
            reactor.react(recorded)
        except (OperationalError, InterfaceError):
            raise
        except Exception as error:
            logger.exception("%s failed on event %s", reactor.name, recorded.position)
            _set_aside(reactor, recorded, error, claimed[0].attempts if claimed else 1)


def _set_aside(reactor: Reactor, recorded: RecordedEvent, error: Exception, attempts: int) -> None:
    checkpoints.dead_letter_model(reactor.service).objects.get_or_create(
        projector=reactor.name,
        position=recorded.position,
        defaults={
            "stream": recorded.stream,
            "status": DeadLetter.Status.FAILED,
            "attempts": attempts,
            "error": f"{type(error).__name__}: {error}",
        },
    )
