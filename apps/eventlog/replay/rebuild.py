"""Rebuild a projector's tables from the log while the live ones serve, then switch.

From top to bottom:

1. `building_shadow_tables` makes empty tables, while it keeps other rebuilds of the same projector away.
2. `Replay` fills them. The live tables change meanwhile, and so does the log.
3. `_switch` projects what has come since, and puts tables, checkpoint and dead letters in place in one transaction.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from operator import attrgetter

from django.conf import settings
from django.db import transaction

from apps.eventlog import store
from apps.eventlog.delivery import checkpoints, reacting
from apps.eventlog.delivery.dead_letters import OPEN, dead_letters_of
from apps.eventlog.delivery.projecting import catch_up
from apps.eventlog.failpoints import failpoint
from apps.eventlog.models import DeadLetter
from apps.eventlog.projectors import Projector
from apps.eventlog.replay.fold_in_processes import fold_in_processes
from apps.eventlog.replay.fold_streams import BATCH, Progress, Replay
from apps.eventlog.replay.rebuild_lock import one_rebuild_at_a_time
from apps.eventlog.replay.shadow_table import ShadowTable, TableInUse

PATIENCE = 300.0  # seconds in which a rebuild asks again for live tables that others use
NAMED = 20  # events that a refusal names


class WouldSetAside(Exception):
    """A rebuild would set aside events that the live rows have taken in; `dead_letters` are theirs."""

    def __init__(self, kind: type[Projector], dead_letters: Sequence[DeadLetter]) -> None:
        named = [
            f"position {each.position}, event {each.event_id} of {each.stream}"
            + (f" ({each.error.partition(':')[0]})" if each.error else "")
            for each in dead_letters[:NAMED]
        ]
        more = [f"and {len(dead_letters) - NAMED} more"] if len(dead_letters) > NAMED else []
        super().__init__(
            f"{kind.name}: this code cannot project {len(dead_letters)} events that the rows have taken in, so the old "
            f"rows stand: {'; '.join(named + more)}"
        )
        self.dead_letters = dead_letters


def rebuild(
    kind: type[Projector],
    *,
    batch: int = BATCH,
    workers: int = 1,
    progress: Progress = lambda events: None,
    accept_dead_letters: bool = False,
) -> int:
    """Replay the log into new tables of a projector and put them in place of the live ones.

    Readers see the old rows until the switch, which is one transaction. If the process is killed before it, the old
    rows stand. Events that are appended meanwhile are in the result. Commands and live delivery go on, except for the
    moment of the switch.

    `batch` is in events. `workers` processes share the streams if each row depends on one stream alone. `progress` is
    called with the number of events done since its last call. Returns how many events were replayed. Raises
    `AlreadyRunning`, `TableInUse` if others use the live tables without a break, and `store.LogWentBack` if the log
    goes back meanwhile. Without `accept_dead_letters`, raises `WouldSetAside` rather than take events out of the rows.
    """
    with building_shadow_tables(kind, batch, progress) as (replay, shadows):
        if workers > 1:
            fold_in_processes(replay, store.safe_place(), workers)
        else:
            replay.fold_streams(store.safe_place())
        replay.project_rest(store.safe_place())
        replay.accept_dead_letters = accept_dead_letters
        _require_rows_kept(kind, replay)  # before the long work on the indexes
        for shadow in shadows:
            shadow.build_indexes()
        _switch(kind, replay, shadows)
    catch_up(kind.service)  # requests that met the locked checkpoint have left their events to this process
    return replay.done


def repair_reactors(service: str) -> None:
    """After the rebuilds: reactors whose place is not in the log go back to where they and the log agree.

    In inline mode they go on from there at once. Otherwise a worker sees to that.
    """
    if reacting.rewind(service) and settings.PROJECTIONS == "inline":
        reacting.catch_up(service)


@contextmanager
def building_shadow_tables(
    kind: type[Projector], batch: int = BATCH, progress: Progress = lambda events: None
) -> Iterator[tuple[Replay, list[ShadowTable]]]:
    """Make shadow tables and a replay into them. At the end, drop those that have not replaced the live ones.

    Raises `AlreadyRunning`.
    """
    with one_rebuild_at_a_time(kind) as require_lock:
        shadows = {live: ShadowTable(live) for live in kind.models}
        for shadow in shadows.values():
            shadow.create()
        try:
            projector = kind({live: shadow.model for live, shadow in shadows.items()})
            yield Replay(projector, batch, progress, require_lock), list(shadows.values())
        finally:
            for shadow in shadows.values():
                shadow.drop()


def _switch(kind: type[Projector], replay: Replay, shadows: list[ShadowTable]) -> None:
    """Replace the live tables as soon as nobody else uses them. Between two tries, live delivery goes on."""
    checkpoints.enter(kind.service)
    deadline, pause = time.monotonic() + PATIENCE, 0.1
    while True:
        replay.project_rest(store.safe_place())  # so that little is left to do while the tables are locked
        try:
            return _replace_live_tables(kind, replay, shadows)
        except TableInUse:
            if time.monotonic() > deadline:
                raise
        catch_up(kind.service)
        time.sleep(pause)
        pause = min(2 * pause, 5)


def _replace_live_tables(kind: type[Projector], replay: Replay, shadows: list[ShadowTable]) -> None:
    """Project the newest events, then replace tables, checkpoint and open dead letters in the same transaction."""
    with transaction.atomic(using=kind.service):
        for shadow in shadows:
            shadow.keep_maintenance_away()
        checkpoint = checkpoints.checkpoint_model(kind.service).objects.select_for_update().get(name=kind.name)
        for shadow in shadows:
            shadow.lock_live()
        replay.project_rest(store.safe_place())
        _require_rows_kept(kind, replay)
        replay.require_lock()
        failpoint("switching")
        for shadow in shadows:
            shadow.replace_live()
        replay.dead_letters.model.objects.filter(projector=kind.name, status__in=OPEN).delete()
        replay.dead_letters.save()
        checkpoint.position = checkpoint.event_position = replay.place.position
        checkpoint.event_id, checkpoint.log_went_back = replay.place.event_id, False
        checkpoint.attempts = checkpoint.singly_until = 0
        checkpoint.save()


def _require_rows_kept(kind: type[Projector], replay: Replay) -> None:
    """Raise `WouldSetAside` if the live rows have taken in an event that the replay has set aside."""
    if replay.accept_dead_letters or not replay.dead_letters.new:
        return
    taken_in = checkpoints.positions(kind.service)[kind.name]
    [live] = dead_letters_of([replay.projector], replay=True)
    lost = [
        each
        for each in replay.dead_letters.new
        if each.position <= taken_in and not live.is_known(each.position, each.event_id)
    ]
    if lost:
        raise WouldSetAside(kind, sorted(lost, key=attrgetter("position")))
