"""Let processes take the events that they have not seen: each event once, in order, with what follows from it.

A process takes events as a projector does: an attempt is counted first, and then one transaction holds the states,
the timers, the commands to send, and the checkpoint. As a reactor, it passes over imported events, and its checkpoint
has a trail, because it cannot begin anew.
"""

from collections.abc import Callable, Sequence
from functools import partial
from operator import attrgetter
from typing import Any

from django.db import InterfaceError, OperationalError, transaction
from django.db.models import Q

from apps.eventlog import store
from apps.eventlog.delivery import checkpoints, claims, trail
from apps.eventlog.delivery.checkpoints import Reached
from apps.eventlog.delivery.claims import Claim, claim
from apps.eventlog.delivery.dead_letters import log_failure
from apps.eventlog.delivery.trail import Mark
from apps.eventlog.errors.texts import described
from apps.eventlog.events import Place, RecordedEvent
from apps.eventlog.failpoints import failpoint
from apps.eventlog.log import places
from apps.eventlog.models import DeadLetter, Import
from apps.eventlog.monitoring.deliveries import delivery
from apps.eventlog.processes import Process
from apps.eventlog.processing import tables
from apps.eventlog.processing.changes import LONGEST_KEY, Changes
from apps.eventlog.processing.forgetting import erasing_types, forget_erased

BATCH = 200
# How often an event, or a timer, may end the process. More than for a projector: a replay brings back what a projector
# has set aside by mistake, because something else killed it three times; nothing replays a process.
LIMIT = 10


def catch_up(kind: type[Process], end: Place, stopped: Callable[[], bool] = lambda: False) -> Reached | None:
    """Let a process take what lies before a safe place. Returns how far it is then; None if it did not get there.

    That is so if another process runs it, or if `stopped` answers true. Raises `store.LogWentBack`.
    """
    while not stopped():
        known = reached(kind)
        look = places.look(known.position, {known.place}, until=end.position, types=_types(kind))
        if look.gone:
            checkpoints.require_in_log([known.place])
        if not look.news:
            return known
        if not _step(kind, end):
            return None
    return None


def reached(kind: type[Process]) -> Reached:
    """How far a process is. A new one is entered, at the beginning of the log."""
    known = checkpoints.of_readers(kind.service).get(kind.name)
    if known is None:
        checkpoints.checkpoint_model(kind.service).objects.get_or_create(name=kind.name)
    return known or Reached()


def _types(kind: type[Process]) -> list[str]:
    return list(dict.fromkeys([*(event_type.type for event_type in kind.methods), *erasing_types()]))


def _step(kind: type[Process], end: Place) -> bool:
    """Take one batch; False if another process has the checkpoint. After an attempt that died, take a single event."""
    with claim(kind.service, [kind.name]) as claimed:
        if not claimed:
            return False
        [it] = claimed
        if it.suspect and not it.one_at_a_time:
            page = _page(kind, it.position, end, BATCH)
            it.deliver_one_at_a_time(until=page[-1].position if page else it.position)
        exhausted = it.exhausted(claims.GRACE, LIMIT)
        limit = 1 if it.suspect else BATCH
        events = _page(kind, it.position, end, limit)
        if events and exhausted:
            return _set_aside_alone(it, events[0], claims.ProcessEnded(LIMIT), LIMIT)
        return _take_together(it, events, events[-1].place if len(events) == limit else end, end)


def _page(kind: type[Process], after: int, end: Place, limit: int) -> list[RecordedEvent]:
    return store.read_page(after=after, end=end.position, limit=limit, types=_types(kind))


def _take_together(it: Claim, events: Sequence[RecordedEvent], to: Place, end: Place) -> bool:
    """Take a batch in one transaction; if something cannot be stored, event by event."""
    try:
        return _take(it, events, to, end)
    except (OperationalError, InterfaceError):
        raise
    except Exception as error:
        if len(events) == 1:
            return _set_aside_alone(it, events[0], error, 1)
    return all(_take_together(it, [each], each.place, end) for each in events)


def _take(it: Claim, events: Sequence[RecordedEvent], to: Place, end: Place) -> bool:
    """Take events and move the checkpoint to a place, in one transaction; False if somebody else has moved it."""
    kind = Process.registry[it.name]
    with transaction.atomic(using=it.service):
        if not claims.lock([it]):
            return False
        batch = _Batch(kind, _without_imported(events))
        with delivery(it.service, [it.name], (each.metadata for each in events)):
            batch.take()
            batch.changes.save()
            forget_erased(kind, events)
        failpoint("processed")
        move(it, to, end)
    return True


def _set_aside_alone(it: Claim, recorded: RecordedEvent, error: Exception, attempts: int) -> bool:
    with transaction.atomic(using=it.service):
        if not claims.lock([it]):
            return False
        set_aside(Process.registry[it.name], recorded, error, attempts)
        move(it, recorded.place, recorded.place)
    return True


def move(it: Claim, to: Place, end: Place) -> None:
    """Move a locked checkpoint to a place, and remember the newest place of the log that is known to be in it."""
    before = Place() if it.reached.place.unknown else it.reached.place
    seen = max(before, end, key=attrgetter("position"))
    marks = places.thinned(trail.read(it.trail), Mark.of(to.position, seen))
    claims.leave_mark(it.service, it.name, marks)
    it.reached, it.trail = Reached(to.position, seen), trail.written(marks)


def _without_imported(events: Sequence[RecordedEvent]) -> list[RecordedEvent]:
    """Imported events are history: what followed from them has happened long ago."""
    if not events:
        return []
    overlapping = Import.objects.filter(first__lte=events[-1].position, last__gte=events[0].position)
    imports = list(overlapping.values_list("first", "last"))
    return [each for each in events if not any(first <= each.position <= last for first, last in imports)]


class _Batch:
    """Some events for a process, with what bears on them: keys for which something is set aside, events ruled out."""

    def __init__(self, kind: type[Process], events: list[RecordedEvent]) -> None:
        self.kind = kind
        taken = {event_type.type for event_type in kind.methods}
        self.keyed = [(kind.key_of(recorded), recorded) for recorded in events if recorded.type in taken]
        keys = {key for key, _ in self.keyed}
        self.changes, self.parked = Changes(kind, keys), set(tables.parked(kind, keys))
        skipped = tables.dead_letters().objects.filter(
            Q(timer="", command_id=None, position__in=[recorded.position for recorded in events]),
            projector=kind.name,
            status=DeadLetter.Status.SKIPPED,
        )
        self.ruled_out = set(skipped.values_list("position", "event_id"))

    def take(self) -> None:
        for key, recorded in self.keyed:
            if (recorded.position, recorded.event_id) in self.ruled_out:
                continue
            if key in self.parked:
                set_aside(self.kind, recorded)
                continue
            try:
                self.changes.take(recorded)
            except (OperationalError, InterfaceError):
                raise
            except Exception as error:
                self.parked.add(key)
                set_aside(self.kind, recorded, error)


def set_aside(
    kind: type[Process], recorded: RecordedEvent, error: Exception | None = None, attempts: int = 1, **about: Any
) -> None:
    """Make a dead letter of an event, or of what `about` names: a timer or a command that the event led to.

    Without an error, it waits behind another one of its key.
    """
    if error:
        transaction.on_commit(partial(log_failure, kind.name, recorded, error), using=kind.service)
    which: dict[str, Any] = {"key": kind.key_of(recorded)[:LONGEST_KEY], "timer": "", "command_id": None} | about
    tables.dead_letters().objects.update_or_create(
        projector=kind.name,
        position=recorded.position,
        **which,
        defaults={
            "stream": recorded.stream,
            "event_id": recorded.event_id,
            "status": DeadLetter.Status.FAILED if error else DeadLetter.Status.WAITING,
            "attempts": attempts if error else 0,
            "error": described(error) if error else "",
            "settled_at": None,
            "settled_by": "",
        },
    )
