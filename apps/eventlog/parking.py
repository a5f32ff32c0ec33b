"""Events that a projector cannot take in are set aside, stream by stream, and everything else goes on."""

from collections.abc import Sequence
from contextlib import nullcontext

from django.db import transaction
from django.db.utils import InterfaceError, OperationalError

from apps.eventlog import checkpoints
from apps.eventlog.events import RecordedEvent
from apps.eventlog.models import DeadLetter
from apps.eventlog.projectors import Projector
from apps.eventlog.statements import marks, rows

OPEN = (DeadLetter.Status.WAITING, DeadLetter.Status.FAILED)


class Letters:
    """The dead letters of a service that bear on what may be projected: those waiting, and those skipped."""

    def __init__(self, service: str) -> None:
        table, relevant = checkpoints.dead_letter_model(service)._meta.db_table, [*OPEN, DeadLetter.Status.SKIPPED]
        self.rows = rows(
            service,
            f"SELECT projector, stream, position, status FROM {table} WHERE status IN {marks(relevant)}",  # noqa: S608
            [str(status) for status in relevant],
        )

    def parking(self, projector: Projector, *, replay: bool = False) -> "Parking":
        """Where the projector sets events aside; in a replay nothing waits yet, but what was skipped stays so."""
        mine = [row for row in self.rows if row[0] == projector.name]
        streams = {stream for _, stream, _, status in mine if status in OPEN and not replay}
        skipped = {position for _, _, position, status in mine if status == DeadLetter.Status.SKIPPED}
        return Parking(projector, streams, skipped)


class Parking:
    """The streams of which a projector has set events aside, and the letters it adds to them.

    `skipped` are the positions that an operator has ruled out.
    """

    def __init__(self, projector: Projector, streams: set[str], skipped: set[int]) -> None:
        self.projector, self.streams, self.skipped = projector, streams, skipped
        self.model = checkpoints.dead_letter_model(projector.service)
        self.letters: list[DeadLetter] = []

    def park(self, recorded: RecordedEvent, error: Exception | None = None, attempts: int = 1) -> None:
        """Set an event aside: as failed with its error, or waiting behind a failed one of its stream."""
        self.streams.add(recorded.stream)
        self.letters.append(
            self.model(
                projector=self.projector.name,
                stream=recorded.stream,
                position=recorded.position,
                status=DeadLetter.Status.FAILED if error else DeadLetter.Status.WAITING,
                attempts=attempts if error else 0,
                error=f"{type(error).__name__}: {error}" if error else "",
            )
        )

    def save(self) -> None:
        """Enter the letters; one that was retried well before and fails again is open again."""
        if not self.letters:
            return
        self.model.objects.bulk_create(
            self.letters,
            update_conflicts=True,
            unique_fields=["projector", "position"],
            update_fields=["status", "attempts", "error", "settled_at", "settled_by"],
        )
        self.letters = []


def deliver(projector: Projector, events: Sequence[RecordedEvent], parking: Parking, *, apart: bool = True) -> None:
    """Project events in the open transaction; what cannot be projected is parked, stream by stream.

    A database that fails is not the event's fault: `OperationalError` passes through. Without `apart` there is no
    savepoint, and every error passes through.
    """
    events = [recorded for recorded in events if recorded.position not in parking.skipped]
    free = [recorded for recorded in events if recorded.stream not in parking.streams]
    try:
        if free:
            with transaction.atomic(using=projector.service) if apart else nullcontext():
                projector.project(free)
    except (OperationalError, InterfaceError):
        raise
    except Exception:
        if not apart:
            raise
        _deliver_singly(projector, events, parking)
    else:
        for recorded in events:
            if recorded.stream in parking.streams:
                parking.park(recorded)


def _deliver_singly(projector: Projector, events: Sequence[RecordedEvent], parking: Parking) -> None:
    for recorded in events:
        if recorded.stream in parking.streams:
            parking.park(recorded)
            continue
        try:
            with transaction.atomic(using=projector.service):
                projector.project([recorded])
        except (OperationalError, InterfaceError):
            raise
        except Exception as error:
            parking.park(recorded, error)
