"""Shadow tables of rebuilds and checks that were killed: copies of rows, which must not outlive an erasure."""

import logging

from django.db import Error, connections

from apps.eventlog.projectors import Projector
from apps.eventlog.replay.rebuild_lock import AlreadyRunning, one_rebuild_at_a_time
from apps.eventlog.replay.shadow_table import ShadowTable

logger = logging.getLogger(__name__)


def drop_leftovers() -> int:
    """Drop the shadow tables that no process works on any more; returns how many there were.

    A rebuild that is alive keeps its own: it projects the erasure before it ends. A database that does not answer is
    left for the next time, because an erasure must not wait for it.
    """
    count = 0
    for kind in Projector.registry.values():
        try:
            count += _drop(kind)
        except AlreadyRunning:
            continue
        except Error as error:
            logger.warning("what killed rebuilds of %s have left cannot be dropped: %s", kind.name, error)
    return count


def _drop(kind: type[Projector]) -> int:
    there = set(connections[kind.service].introspection.table_names())
    shadows = [shadow for shadow in map(ShadowTable, kind.models) if shadow.name in there]
    if shadows:
        with one_rebuild_at_a_time(kind):
            for shadow in shadows:
                shadow.drop()
            logger.warning("dropped what a killed rebuild of %s had left", kind.name)
    return len(shadows)
