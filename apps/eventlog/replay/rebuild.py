"""Rebuild read models from the log while the live ones serve, then switch."""

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from django.db import connections, transaction

from apps.eventlog import store
from apps.eventlog.delivery import checkpoints
from apps.eventlog.delivery.dead_letters import OPEN
from apps.eventlog.delivery.projecting import catch_up
from apps.eventlog.failpoints import failpoint
from apps.eventlog.projectors import Projector
from apps.eventlog.replay.fold_streams import BATCH, Progress, Replay, fill_in_processes
from apps.eventlog.replay.shadow_table import Shadow, TableInUse

PATIENCE = 300.0  # seconds to try for the live tables in turn with others that use them


class AlreadyRunning(Exception):
    """Another process is rebuilding this projector."""


def rebuild(
    kind: type[Projector], *, batch: int = BATCH, workers: int = 1, progress: Progress = lambda events: None
) -> int:
    """Replay the log into new tables of a projector and put them in place of the live ones.

    Readers see the old rows until the switch, which is one transaction; killed before it, the old
    rows stand. Events appended meanwhile are in the result. Commands and live delivery go on but
    for the moment of the switch. `batch` is in events; `workers` processes share the streams where
    rows depend on one stream each; `progress` is called with how many more events are done.
    Returns how many were replayed. Raises `AlreadyRunning`, and `TableInUse` where others never let
    go of the live tables.
    """
    with beside(kind, batch, progress) as (replay, shadows):
        if workers > 1:
            fill_in_processes(replay, store.safe_position(), workers)
        else:
            replay.fill(store.safe_position())
        replay.drain(store.safe_position())
        for shadow in shadows:
            shadow.index()
        _switch(kind, replay, shadows)
    catch_up(kind.service)  # requests that found the checkpoint held have left it this
    return replay.done


def _switch(kind: type[Projector], replay: Replay, shadows: list[Shadow]) -> None:
    """`_take_over` as soon as nobody has the live tables in use; between the tries, live delivery goes on."""
    checkpoints.enter(kind.service)
    deadline, pause = time.monotonic() + PATIENCE, 0.1
    while True:
        replay.drain(store.safe_position())  # so that little is left for when the tables are held
        try:
            return _take_over(kind, replay, shadows)
        except TableInUse:
            if time.monotonic() > deadline:
                raise
        catch_up(kind.service)
        time.sleep(pause)
        pause = min(2 * pause, 5)


def _take_over(kind: type[Projector], replay: Replay, shadows: list[Shadow]) -> None:
    """Take in what came last, then put tables, checkpoint and parked events in place together."""
    with transaction.atomic(using=kind.service):
        for shadow in shadows:
            shadow.keep_maintenance_away()
        checkpoint = checkpoints.checkpoint_model(kind.service).objects.select_for_update().get(name=kind.name)
        for shadow in shadows:
            shadow.hold()
        replay.drain(store.safe_position())
        failpoint("switching")
        for shadow in shadows:
            shadow.replace()
        replay.dead_letters.model.objects.filter(projector=kind.name, status__in=OPEN).delete()
        replay.dead_letters.save()
        checkpoint.position = replay.position
        checkpoint.save()


@contextmanager
def beside(
    kind: type[Projector], batch: int = BATCH, progress: Progress = lambda events: None
) -> Iterator[tuple[Replay, list[Shadow]]]:
    """A replay into shadow tables, which are gone afterwards unless they took the place of the live ones."""
    with _alone(kind):
        shadows = {live: Shadow(live) for live in kind.models}
        for shadow in shadows.values():
            shadow.create()
        try:
            projector = kind({live: shadow.model for live, shadow in shadows.items()})
            yield Replay(projector, batch, progress), list(shadows.values())
        finally:
            for shadow in shadows.values():
                shadow.drop()


@contextmanager
def _alone(kind: type[Projector]) -> Iterator[None]:
    """One rebuild of a projector at a time, by a lock that ends with its process."""
    connection = connections[kind.service]
    busy = AlreadyRunning(f"{kind.name} is being rebuilt by another process")
    if connection.vendor == "sqlite":
        with Path(f"{connection.settings_dict['NAME']}.{kind.name}.lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise busy from None
            yield
        return
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(hashtext(%s))", [f"rebuild {kind.name}"])
        if not cursor.fetchone()[0]:
            raise busy
        try:
            yield
        finally:
            cursor.execute("SELECT pg_advisory_unlock(hashtext(%s))", [f"rebuild {kind.name}"])
