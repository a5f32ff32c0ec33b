"""Events that a projector cannot take become dead letters, stream by stream, and all other streams go on."""

import logging
from collections.abc import Collection, Sequence
from contextlib import nullcontext
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import QuerySet
from django.db.utils import InterfaceError, OperationalError

from apps.eventlog.database.statements import marks, rows
from apps.eventlog.delivery import checkpoints
from apps.eventlog.events import RecordedEvent
from apps.eventlog.models import DeadLetter
from apps.eventlog.projectors import Projector

logger = logging.getLogger(__name__)

OPEN, SKIPPED = (DeadLetter.Status.WAITING, DeadLetter.Status.FAILED), DeadLetter.Status.SKIPPED
NOBODY = UUID(int=0)  # the id of no event


def open_dead_letters(service: str) -> QuerySet[DeadLetter]:
    """The dead letters that nobody has settled, by projector and position."""
    return (
        checkpoints.dead_letter_model(service).objects.filter(status__in=OPEN).order_by("projector", "position", "id")
    )


def streams_set_aside(service: str, until: int) -> dict[str, set[str]]:
    """The streams with an open dead letter at or before a position, by the name of their projector."""
    table = checkpoints.dead_letter_model(service)._meta.db_table
    where = f"status IN {marks(OPEN)} AND position <= %s"
    query = f"SELECT DISTINCT projector, stream FROM {table} WHERE {where}"  # noqa: S608
    found: dict[str, set[str]] = {}
    for projector, stream in rows(service, query, [*map(str, OPEN), until]):
        found.setdefault(projector, set()).add(stream)
    return found


class DeadLetters:
    """The dead letters of one projector: those that bear on what it may take next, and those that it adds.

    `streams` are the streams with an open dead letter: their later events wait behind it. `skipped` are the events that
    an operator has ruled out, and `known` those that are set aside already, by position; the id is None if it is not
    known.
    """

    def __init__(
        self, projector: Projector, streams: set[str], skipped: dict[int, UUID | None], known: dict[int, UUID | None]
    ) -> None:
        self.projector, self.streams, self.skipped, self.known = projector, streams, skipped, known
        self.model = checkpoints.dead_letter_model(projector.service)
        self.new: list[DeadLetter] = []
        self.failures: list[tuple[RecordedEvent, Exception]] = []  # that nobody has been told of

    def add(self, recorded: RecordedEvent, error: Exception | None = None, attempts: int = 1) -> None:
        """Set an event aside: failed with its error, or without one, waiting behind a failed event of its stream."""
        self.streams.add(recorded.stream)
        if error and not self.is_known(recorded.position, recorded.event_id):
            self.failures.append((recorded, error))
        self.new.append(
            self.model(
                projector=self.projector.name,
                stream=recorded.stream,
                position=recorded.position,
                event_id=recorded.event_id,
                status=DeadLetter.Status.FAILED if error else DeadLetter.Status.WAITING,
                attempts=attempts if error else 0,
                error=f"{type(error).__name__}: {error}" if error else "",
            )
        )

    def rules_out(self, recorded: RecordedEvent) -> bool:
        """Has an operator skipped this event? Another one may be at its position if the log went back."""
        return self.skipped.get(recorded.position, NOBODY) in (None, recorded.event_id)

    def is_known(self, position: int, event_id: UUID | None) -> bool:
        """Is this event set aside already?"""
        return self.known.get(position, NOBODY) in (None, event_id)

    def log_failures(self) -> None:
        """Log each event that has failed, with its traceback, once."""
        for recorded, error in self.failures:
            log_failure(self.projector.name, recorded, error)
        self.failures = []

    def save(self) -> None:
        """Write the new dead letters, and log the failures when that is committed.

        An event that was retried with success and fails again becomes open again.
        """
        if not self.new:
            return
        transaction.on_commit(self.log_failures, using=self.projector.service)
        self.model.objects.bulk_create(
            self.new,
            update_conflicts=True,
            unique_fields=["projector", "position"],
            update_fields=["stream", "event_id", "status", "attempts", "error", "settled_at", "settled_by"],
        )
        self.new = []


def dead_letters_of(projectors: Sequence[Projector], *, replay: bool = False) -> list[DeadLetters]:
    """The dead letters of each of these projectors of one service, with one query for all.

    In a replay no stream waits yet, but what an operator has skipped stays skipped.
    """
    service, relevant = projectors[0].service, [*OPEN, SKIPPED]
    table = checkpoints.dead_letter_model(service)._meta.db_table
    found = rows(
        service,
        f"SELECT projector, stream, position, event_id, status FROM {table} WHERE status IN {marks(relevant)}",  # noqa: S608
        [str(status) for status in relevant],
    )
    return [
        DeadLetters(
            projector,
            {stream for name, stream, *_, status in found if name == projector.name and status in OPEN and not replay},
            _ids(found, projector, [SKIPPED]),
            _ids(found, projector, OPEN),
        )
        for projector in projectors
    ]


def _ids(found: list[Any], projector: Projector, statuses: Collection[str]) -> dict[int, UUID | None]:
    """The ids of the dead letters of a projector with one of these statuses, by position."""
    mine = [(at, id) for name, _, at, id, status in found if name == projector.name and status in statuses]
    return {at: UUID(id) if isinstance(id, str) else id for at, id in mine}


def log_failure(reader: str, recorded: RecordedEvent, error: Exception) -> None:
    """Log that a projector or reactor cannot take an event, with the traceback of the error."""
    event = f"event {recorded.event_id} at position {recorded.position}, {recorded.type} of {recorded.stream}"
    logger.error("%s cannot take %s", reader, event, exc_info=error)


def deliver(events: Sequence[RecordedEvent], dead_letters: DeadLetters, *, isolated: bool = True) -> None:
    """Project events in the open transaction; those that cannot be projected become dead letters.

    A database that fails is not the event's fault, so `OperationalError` passes through. If `isolated` is false, there
    is no savepoint, and every error passes through.
    """
    projector = dead_letters.projector
    events = [recorded for recorded in events if not dead_letters.rules_out(recorded)]
    free = [recorded for recorded in events if recorded.stream not in dead_letters.streams]
    try:
        if free:
            with transaction.atomic(using=projector.service) if isolated else nullcontext():
                projector.project(free)
    except (OperationalError, InterfaceError):
        raise
    except Exception:
        if not isolated:
            raise
    else:
        for recorded in events:
            if recorded.stream in dead_letters.streams:
                dead_letters.add(recorded)
        return
    _deliver_one_at_a_time(events, dead_letters)


def _deliver_one_at_a_time(events: Sequence[RecordedEvent], dead_letters: DeadLetters) -> None:
    projector = dead_letters.projector
    for recorded in events:
        if recorded.stream in dead_letters.streams:
            dead_letters.add(recorded)
            continue
        try:
            with transaction.atomic(using=projector.service):
                projector.project([recorded])
        except (OperationalError, InterfaceError):
            raise
        except Exception as error:
            dead_letters.add(recorded, error)
