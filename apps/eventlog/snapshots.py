"""Aggregates of long streams as this process folded them last: a cache, which may be lost at any time.

A fold of events 1 to n stays what it is, because events do not change. Should the log be another one
than before, restored from a backup say, the event at n is not the one remembered, and the snapshot goes.
"""

from collections import OrderedDict
from collections.abc import Iterator
from copy import deepcopy
from threading import Lock
from typing import TypeVar
from uuid import UUID

from apps.eventlog import store
from apps.eventlog.aggregates import Aggregate
from apps.eventlog.events import RecordedEvent

Kind = TypeVar("Kind", bound=Aggregate)

LONG = 50  # events: shorter streams are folded as quickly as they are remembered
KEPT = 256  # aggregates

_lock = Lock()
_kept: OrderedDict[str, Aggregate] = OrderedDict()


def load(kind: type[Kind], id: UUID, *, keys_required: bool = True) -> Kind:
    """The aggregate as its stream says, at version 0 where there is none.

    Raises `data_keys.MissingKey` if `keys_required` and the stream cannot be read without one.
    """
    aggregate = kind(id)
    resumed = _resumed(aggregate, keys_required)
    aggregate, later = resumed or (aggregate, store.read_stream(aggregate.stream, keys_required=keys_required))
    remembered = aggregate.version
    aggregate.fold(later)
    if aggregate.erased:
        _kept.pop(aggregate.stream, None)  # a name has no business in memory either
    elif aggregate.version - remembered >= LONG:
        _keep(aggregate)
    return aggregate


def _resumed(blank: Kind, keys_required: bool) -> tuple[Kind, Iterator[RecordedEvent]] | None:
    """A copy of the snapshot, which the caller may change, and the later events; None where none holds."""
    with _lock:
        kept = _kept.get(blank.stream)
    if kept is None or kept.last is None:
        return None
    history = store.read_stream(blank.stream, after_version=kept.version - 1, keys_required=keys_required)
    last = next(history, None)
    if last is None or last.event_id != kept.last.event_id:
        _kept.pop(blank.stream, None)
        return None
    return deepcopy(kept), history  # type: ignore[return-value]


def _keep(aggregate: Aggregate) -> None:
    with _lock:
        _kept[aggregate.stream] = deepcopy(aggregate)
        _kept.move_to_end(aggregate.stream)
        while len(_kept) > KEPT:
            _kept.popitem(last=False)
