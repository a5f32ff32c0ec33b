"""Send the commands of processes: for each key in their order, each until it has taken effect once.

A command is sent after the transaction that stored it, so it may be sent twice: by a process that dies before it has
noted the outcome, or by two at once. Its id makes the second time harmless (see `dispatch`). An attempt keeps others
away for a moment, which only saves them the work.
"""

import logging
from collections.abc import Callable, Collection
from datetime import datetime, timedelta

from django.db import InterfaceError, OperationalError, transaction
from django.db.models import Exists, F, OuterRef
from django.utils import timezone

from apps.eventlog import store
from apps.eventlog.commands import Outcome
from apps.eventlog.delivery import checkpoints
from apps.eventlog.delivery.claims import ProcessEnded
from apps.eventlog.dispatch import command_named, dispatch
from apps.eventlog.events import Place, RecordedEvent
from apps.eventlog.failpoints import failpoint
from apps.eventlog.log import places
from apps.eventlog.models import OutgoingCommand
from apps.eventlog.processes import Process
from apps.eventlog.processing import tables
from apps.eventlog.processing.changes import read
from apps.eventlog.processing.taking import said, set_aside

logger = logging.getLogger(__name__)

BATCH = 100
ATTEMPTS = 14  # before a command is set aside; with the pauses that takes some ten minutes
PAUSE, LONGEST_PAUSE = 0.5, 90.0  # seconds until the next attempt; doubled each time
TURN = timedelta(seconds=2)  # for which nobody else tries a command that somebody is sending
WAITING, SENT, FAILED = OutgoingCommand.Status.WAITING, OutgoingCommand.Status.SENT, OutgoingCommand.Status.FAILED


def send_waiting(names: Collection[str], stopped: Callable[[], bool]) -> None:
    """Send the commands of these processes whose turn it is, until there are none."""
    while not stopped() and (waiting := _next(names)):
        for row in waiting:
            if stopped():
                return
            _send(row)


def _next(names: Collection[str]) -> list[OutgoingCommand]:
    """Commands that may be sent now: for each key the first that is not sent, unless every attempt at it failed."""
    rows = tables.commands().objects
    earlier = rows.filter(
        process=OuterRef("process"), key=OuterRef("key"), number__lt=OuterRef("number"), status__in=[WAITING, FAILED]
    )
    due = rows.filter(status=WAITING, try_at__lte=timezone.now(), process__in=names)
    return list(due.exclude(Exists(earlier)).order_by("try_at", "number")[:BATCH])


def _send(row: OutgoingCommand) -> None:
    """Send a command, if nobody else is at it. A database that fails is not its fault, and counts as no attempt."""
    mine = tables.commands().objects.filter(number=row.number, status=WAITING, try_at=row.try_at)
    if not mine.update(attempts=F("attempts") + 1, try_at=timezone.now() + TURN):
        return
    row.attempts += 1
    try:
        cause = _cause(row)
        outcome = _dispatch(row, cause)
    except (OperationalError, InterfaceError, store.LogWentBack):
        _try_again(row, timedelta(seconds=PAUSE), attempts=row.attempts - 1)
        raise
    except Exception as error:
        _failed(row, error)
    else:
        failpoint("sent")
        _sent(row, outcome)


def _cause(row: OutgoingCommand) -> RecordedEvent:
    """The event that led to a command. Raises `LogWentBack` if the log has it no more."""
    place = Place(row.position, row.event_id)
    places.require(place, places.places_at([row.position]).get(row.position))
    return store.event_at(row.position)


def _dispatch(row: OutgoingCommand, cause: RecordedEvent) -> Outcome:
    if row.attempts > ATTEMPTS:
        raise ProcessEnded
    command = read(command_named(row.command), row.content)
    return dispatch(command, cause=cause, command_id=row.command_id)


def _sent(row: OutgoingCommand, outcome: Outcome) -> None:
    """Note what came of a command, and that the log had its event: if that is ever gone, the log went back."""
    place = places.place_at(outcome.position)
    with transaction.atomic(using=tables.ALIAS):
        tables.commands().objects.filter(number=row.number).update(
            status=SENT, sent_at=timezone.now(), sent_position=outcome.position, error=""
        )
        checkpoint = checkpoints.checkpoint_model(tables.ALIAS).objects.filter(name=row.process)
        checkpoint.filter(event_position__lt=place.position).update(
            event_position=place.position, event_id=place.event_id
        )


def _failed(row: OutgoingCommand, error: Exception) -> None:
    if row.attempts < ATTEMPTS:
        logger.warning("%s %s failed, attempt %s: %s", row.process, row, row.attempts, error)
        _try_again(row, timedelta(seconds=min(PAUSE * 2**row.attempts, LONGEST_PAUSE)), error=said(error))
        return
    with transaction.atomic(using=tables.ALIAS):
        tables.commands().objects.filter(number=row.number).update(status=FAILED, error=said(error))
        kind, cause = Process.registry[row.process], store.event_at(row.position)
        set_aside(kind, cause, error, row.attempts, key=row.key, command_id=row.command_id)


def _try_again(row: OutgoingCommand, pause: timedelta, **values: object) -> None:
    tables.commands().objects.filter(number=row.number, status=WAITING).update(try_at=timezone.now() + pause, **values)


def next_try(names: Collection[str]) -> datetime | None:
    """When the next command is to be tried, None if none waits."""
    waiting = tables.commands().objects.filter(status=WAITING, process__in=names)
    return waiting.order_by("try_at").values_list("try_at", flat=True).first()
