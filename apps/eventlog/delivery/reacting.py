"""Run the reactors of a service over what they have not seen."""

import logging
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Self

from django.db import transaction
from django.db.models import Q
from django.db.utils import InterfaceError, OperationalError

from apps.eventlog import store
from apps.eventlog.delivery import checkpoints, claims, identity, trail
from apps.eventlog.delivery.checkpoints import Reached
from apps.eventlog.delivery.claims import Claim, claim
from apps.eventlog.delivery.dead_letters import log_failure, open_dead_letters
from apps.eventlog.delivery.trail import Mark
from apps.eventlog.errors.texts import described
from apps.eventlog.events import DomainEvent, Place, RecordedEvent
from apps.eventlog.log import places
from apps.eventlog.models import DeadLetter
from apps.eventlog.monitoring.deliveries import delivery
from apps.eventlog.projectors import of_service
from apps.eventlog.reactors import Reactor
from apps.eventlog.store import LogWentBack

logger = logging.getLogger(__name__)

GRACE = 5.0  # seconds; a reaction locks no checkpoint, so several workers may be at the same event for a while
PATIENCE = 0.25  # seconds to wait for an event that cannot be read yet
PAUSE = 0.001  # seconds until the next look for it; doubled each time
RUN = 0.1  # seconds of reactions after which the checkpoint moves: after a crash, what they did is done again

_busy: defaultdict[str, Lock] = defaultdict(Lock)


def services_taking(types: Collection[str]) -> list[str]:
    """The services with a reactor that takes one of these event types."""
    return sorted({kind.service for kind in Reactor.registry.values() if set(types) & set(_types(kind))})


def catch_up(service: str, stopped: Callable[[], bool] = lambda: False) -> None:
    """React to everything in the log that this service's reactors have not seen, or until `stopped` answers true.

    An event that a writer's mark hides is waited for `PATIENCE` seconds. After that, the next call reacts to it. If
    the place of a reactor is not in the log, or the rows show another log, the reactor stops and that is reported.
    """
    # If another thread runs a reactor, this one leaves the work to that one, which looks at the log again at its end.
    # To wait here could be a deadlock: a reaction may send a command, and that command catches up in its own thread.
    kinds = [kind for kind in Reactor.registry.values() if kind.service == service and not _busy[kind.name].locked()]
    known = checkpoints.of_readers(service) if kinds else {}
    for kind in kinds:
        try:
            _catch_up(kind, known, stopped)
        except LogWentBack:
            identity.went_back(service)


def _catch_up(kind: type[Reactor], known: dict[str, Reached], stopped: Callable[[], bool]) -> None:
    steps, pause, deadline = _Steps.of(kind, known), PAUSE, time.monotonic() + PATIENCE
    while not stopped() and steps.news() and _busy[kind.name].acquire(blocking=False):
        before = steps.position
        try:
            ahead = _drain(kind(), steps, stopped)
        finally:
            _busy[kind.name].release()
        if steps.position > before:
            pause, deadline = PAUSE, time.monotonic() + PATIENCE
        if ahead:
            steps.shown = checkpoints.lowest(kind.service)
            if steps.shown < ahead:  # nobody has projected meanwhile
                break
        if steps.position == before and not ahead:
            if time.monotonic() > deadline:
                break
            time.sleep(pause)
            pause *= 2


@dataclass
class _Steps:
    """How far a reactor is: its position, its trail, and the place by which it knows the log."""

    kind: type[Reactor]
    position: int
    seen: Place
    shown: int  # up to which position the rows show the log, at least
    rows_seen: set[Place]  # by which the projectors know the log whose rows the reactor reads
    trail: list[Mark] | None = None  # not read yet

    @classmethod
    def of(cls, kind: type[Reactor], known: dict[str, Reached]) -> Self:
        """From the checkpoints of its service, which may be a little older.

        Raises `LogWentBack` if the event of the reactor's own is not known and the log never was so long.
        """
        projected = [known.get(each.name, Reached()) for each in of_service(kind.service)]
        rows_seen, shown = {each.place for each in projected}, min((each.position for each in projected), default=0)
        reached = known.get(kind.name)
        if reached is None:
            checkpoints.checkpoint_model(kind.service).objects.get_or_create(name=kind.name)
        steps = cls(kind, *(reached or Reached()), shown, rows_seen)
        if steps.seen.unknown:
            steps.trail = trail.begun(steps.position)
            steps.seen = checkpoints.known_again(Reached(steps.position, steps.seen))
            steps.move(steps.position)
        return steps

    def news(self) -> bool:
        """Is there an event for the reactor? Raises `LogWentBack`, also if the rows show another log."""
        known = {self.seen, *self.rows_seen}
        look = places.look(self.position, known, types=_types(self.kind))
        if look.gone:
            checkpoints.require_in_log(known)
        return look.news

    def move(self, position: int) -> None:
        """Move the checkpoint to a position, if the log is still the one that was read. Raises `LogWentBack`."""
        self.seen, self.position = places.head_after(self.seen), position
        if self.trail is None:
            self.trail = trail.of(self.kind.service, self.kind.name)
        self.trail = places.thinned(self.trail, Mark.of(position, self.seen))
        claims.leave_mark(self.kind.service, self.kind.name, self.trail)


def _drain(reactor: Reactor, steps: _Steps, stopped: Callable[[], bool]) -> int:
    """React to the events that the rows show already; returns the position of the first that they do not show, or 0.

    Imported events are passed over, because they are history; but an imported erasure is carried out here as well.
    """
    events = _next(steps)
    if not events:
        return 0
    position = events[0].position
    if stopped() or not (position <= steps.shown or checkpoints.stands_at(reactor.service, position)):
        return position
    _react(reactor, events, steps, stopped)
    return 0


def _next(steps: _Steps) -> list[RecordedEvent]:
    """The next events for the reactor: those that the rows show, or else a single one."""
    types, after = _types(steps.kind), steps.position
    if steps.shown <= after:
        steps.shown = checkpoints.lowest(steps.kind.service)
    shown = steps.shown > after
    events = store.read_page(after=after, end=steps.shown, limit=store.PAGE, types=types) if shown else []
    events = events or list(store.read_all(after=after, limit=1, types=types))
    if not events or events[0].position > places.end_of_imports(events[-1].position):
        return events
    if last := store.import_end(events[0].position):
        events = store.read_page(after=after, end=last, limit=1, types=_erasing(types))
        if not events:
            steps.move(last)
    return events[:1]


def rewind(
    service: str,
    readers: Collection[str] = Reactor.registry,
    also: Callable[[str, int], None] = lambda name, position: None,
) -> list[str]:
    """Reactors whose place is not in the log go back to the last mark of their trails that is; returns their names.

    They may see events again that they have answered already, and skip none. `readers` names those that have trails:
    reactors, or processes. `also` is called in the transaction, with the name and the position.
    """
    names = [name for name in identity.went_back(service) if name in readers]
    for name in names:
        with transaction.atomic(using=service):
            checkpoint = checkpoints.checkpoint_model(service).objects.select_for_update().get(name=name)
            marks = trail.of(service, name)
            mark = trail.last_shared(marks)
            checkpoint.position, checkpoint.event_position = mark.position, mark.event_position
            checkpoint.event_id = mark.seen.event_id
            checkpoint.trail = [each for each in marks if each.position <= mark.position]
            checkpoint.attempts, checkpoint.log_went_back = 0, False
            checkpoint.save()
            open_dead_letters(service).filter(projector=name, position__gt=mark.position).delete()
            also(name, mark.position)
        logger.warning("%s of %s goes on from position %s", name, service, mark.position)
    return names


def _types(kind: type[Reactor]) -> list[str]:
    return [event_type.type for event_type in kind.methods]


def _erasing(types: list[str]) -> list[str]:
    return [name for name in types if DomainEvent.types[name].erases]


def _react(reactor: Reactor, events: Sequence[RecordedEvent], steps: _Steps, stopped: Callable[[], bool]) -> None:
    """React to events for about RUN seconds, one at least, and move the checkpoint behind the last that was answered.

    One attempt is counted for all. If it is not the first one, because a process died, it is for one event alone.
    """
    with claim(reactor.service, [reactor.name]) as claimed:
        mine, began, done = claimed[0] if claimed else None, time.monotonic(), 0
        if mine and steps.trail is None:
            steps.trail = trail.read(mine.trail)
        if mine and mine.position >= events[0].position:
            claims.release(claimed)  # another worker has reacted, so this count is not this event's
            steps.move(events[0].position)
            return
        try:
            for recorded in events:
                _answer(reactor, recorded, mine)
                done = recorded.position
                if stopped() or time.monotonic() - began > RUN or (mine and mine.suspect):
                    break
        finally:
            if done:
                steps.move(done)


def _answer(reactor: Reactor, recorded: RecordedEvent, claimed: Claim | None) -> None:
    """Let the reactor have the event; a failure becomes a dead letter."""
    try:
        if claimed and claimed.exhausted(GRACE):
            raise claims.ProcessEnded
        with delivery(reactor.service, [reactor.name]):
            reactor.react(recorded)
    except (OperationalError, InterfaceError, LogWentBack):
        raise
    except Exception as error:
        _set_aside(reactor, recorded, error, claimed.attempts if claimed else 1)


def _set_aside(reactor: Reactor, recorded: RecordedEvent, error: Exception, attempts: int) -> None:
    letters = checkpoints.dead_letter_model(reactor.service).objects.filter(
        projector=reactor.name, position=recorded.position
    )
    # What was there of an event that is gone, because the log went back, does not stand for this one.
    letters.exclude(Q(event_id=recorded.event_id) | Q(event_id=None)).delete()
    failed = {
        "status": DeadLetter.Status.FAILED,
        "attempts": attempts,
        "error": described(error),
    }
    found, new = letters.get_or_create(
        projector=reactor.name,
        position=recorded.position,
        defaults={"stream": recorded.stream, "event_id": recorded.event_id, **failed},
    )
    if not new and found.status == DeadLetter.Status.RETRIED:  # which succeeded then
        new = bool(letters.update(**failed, settled_at=None, settled_by=""))
    if new:  # otherwise a worker that was at the same event has said so
        log_failure(reactor.name, recorded, error)
