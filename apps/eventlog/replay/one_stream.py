"""Rebuild the row of one stream in place, in the tables of those projectors that have a row for each stream."""

from collections.abc import Collection
from uuid import UUID

from django.db import transaction

from apps.eventlog import store
from apps.eventlog.delivery import checkpoints
from apps.eventlog.delivery.dead_letters import OPEN, dead_letters_of
from apps.eventlog.delivery.projecting import catch_up
from apps.eventlog.events import Place, RecordedEvent
from apps.eventlog.projectors import Projector, RowProjector


class NoSuchRow(Exception):
    """No projector that was asked for has a row of its own for the stream, or the log has no such stream."""


def with_a_row_of(stream: str, kinds: Collection[type[Projector]]) -> list[type[RowProjector]]:
    """Those of the projectors that have a row for this stream. Raises `NoSuchRow`."""
    category = stream.partition("-")[0]
    found = [kind for kind in kinds if issubclass(kind, RowProjector) and kind.category == category]
    if not found and len(kinds) == 1:
        [kind] = kinds
        raise NoSuchRow(f"{kind.name} has no row for each stream of {category!r}: rebuild it as a whole")
    if not found:
        raise NoSuchRow(f"no projector has a row for each stream of {category!r}")
    if store.position_of(stream) is None:
        raise NoSuchRow(f"the log has no stream {stream!r}")
    try:
        row_id(stream)
    except ValueError:
        raise NoSuchRow(f"{stream!r} has no row: its id is no UUID") from None
    return found


def row_id(stream: str) -> UUID:
    """The primary key of a stream's row. Raises ValueError if the id of the stream is no UUID."""
    return UUID(stream.partition("-")[2])


def rebuild_stream(kind: type[RowProjector], stream: str) -> int:
    """Put the row of a stream in its place again, as the log says; returns of how many events.

    The row shows the stream up to the checkpoint of the projector, which is locked meanwhile, so live delivery goes on
    from there. The open dead letters of the stream are gone afterwards. If an event cannot be projected, that error is
    raised, and row and dead letters stay as they are. Raises `store.LogWentBack` if the rows show another log.
    """
    checkpoints.enter(kind.service)
    with transaction.atomic(using=kind.service):
        checkpoints.checkpoint_model(kind.service).objects.select_for_update().get(name=kind.name)
        place = checkpoints.known_again(checkpoints.of_projectors(kind.service)[kind.name])
        checkpoints.require_in_log([place])
        projector, events = kind(), history(kind, stream, place)
        projector.table(kind.model).objects.filter(pk=row_id(stream)).delete()
        projector.project(events)
        letters = checkpoints.dead_letter_model(kind.service).objects
        letters.filter(projector=kind.name, stream=stream, status__in=OPEN).delete()
    catch_up(kind.service)  # requests that met the locked checkpoint have left their events to this process
    return len(events)


def history(kind: type[RowProjector], stream: str, until: Place) -> list[RecordedEvent]:
    """The events of a stream that the row shows at a place: without those that an operator has skipped."""
    [dead_letters] = dead_letters_of([kind()], replay=True)
    return [each for each in store.read_stream(stream, until=until.position) if not dead_letters.rules_out(each)]
