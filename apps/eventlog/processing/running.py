"""Run the processes: let each take its events, fire what is due, and send what they have to send."""

import time
from collections.abc import Callable
from itertools import islice
from typing import Any

from django.db.models import QuerySet
from django.utils import timezone

from apps.eventlog import store
from apps.eventlog.delivery import identity, reacting
from apps.eventlog.events import Place
from apps.eventlog.log import places
from apps.eventlog.models import OutgoingCommand
from apps.eventlog.processes import Process
from apps.eventlog.processing import tables
from apps.eventlog.processing.firing import fire_due
from apps.eventlog.processing.sending import send_waiting
from apps.eventlog.processing.taking import catch_up
from apps.eventlog.store import LogWentBack

TURN = 0.5  # seconds for each process, and for sending
PAGE = 500  # rows whose events are looked for at a time


def run(stopped: Callable[[], bool] = lambda: False) -> bool:
    """Do what is to be done now, or until `stopped` answers true. Any number of threads and machines may.

    Each process has its turn, which is short, so that a long backlog of one delays no other, and nothing else that the
    caller does. Returns False if a turn ended before everything was done.

    A timer fires when the process has taken every event that was recorded before the timer was due. A process whose
    place is not in the log stops and is reported, and its timers and commands wait.
    """
    done, going = True, []
    for kind in tables.kinds():
        turn = turn_of(stopped)
        if _run(kind, turn):
            going.append(kind.name)
        done &= not turn()
    turn = turn_of(stopped)
    try:
        if going:
            send_waiting(going, turn)
    except LogWentBack:
        identity.went_back(tables.ALIAS)
    return done and not turn()


def turn_of(stopped: Callable[[], bool]) -> Callable[[], bool]:
    """Is a turn that begins now at its end?"""
    ends = time.monotonic() + TURN
    return lambda: stopped() or time.monotonic() > ends


def _run(kind: type[Process], late: Callable[[], bool]) -> bool:
    """Let one process go as far as it can; False if it has stopped because the log went back."""
    now = timezone.now()  # before the look at the log, which then has every event that was recorded by now
    try:
        reached = catch_up(kind, store.safe_place(), late)
        if reached is not None:
            fire_due(kind, now, reached, late)
    except LogWentBack:
        identity.went_back(tables.ALIAS)
        return False
    return True


def repair() -> None:
    """After a replay: a process whose place is not in the log goes back to where it and the log agree.

    Its states stay as they are. It may take events again; the commands that follow then have the ids that they had.
    """
    if tables.kinds():
        reacting.rewind(tables.ALIAS, Process.registry, also=_go_back)


def _go_back(name: str, position: int) -> None:
    """Forget the timers and commands whose event is gone, and send again what was sent after that place.

    A command that is sent again takes effect only if the log has lost what it did.
    """
    for model in (tables.timers(), tables.commands()):
        _forget_gone(model.objects.filter(process=name, position__gt=position))
    sent = tables.commands().objects.filter(
        process=name, status=OutgoingCommand.Status.SENT, sent_position__gt=position
    )
    sent.update(status=OutgoingCommand.Status.WAITING, attempts=0, try_at=timezone.now())


def _forget_gone(rows: QuerySet[Any]) -> None:
    """Delete the rows whose event is not in the log."""
    every = rows.order_by("position").values_list("pk", "position", "event_id").iterator()
    while page := list(islice(every, PAGE)):
        found = places.places_at({position for _, position, _ in page})
        gone = [pk for pk, position, id in page if found.get(position) != Place(position, id)]
        rows.model._default_manager.filter(pk__in=gone).delete()
