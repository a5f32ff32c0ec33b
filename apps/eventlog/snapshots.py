"""Aggregates of long streams as this process folded them last: a cache, which may be lost at any time.

The state of an aggregate after events 1 to n never changes, because events do not change. If the log is another one
than before, for example restored from a backup, its event n has another id; then the snapshot is dropped.

What threads share here is safe: they reach `_kept` only while they hold `_lock`; an aggregate in it is never changed,
because each caller works on a copy; and no snapshot is used before its last event was found in the log.
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

LONG = 50  # events: to fold fewer takes no longer than to copy the aggregate
KEPT = 256  # aggregates

_lock = Lock()
_kept: OrderedDict[str, Aggregate] = OrderedDict()


def load(kind: type[Kind], id: UUID, *, keys_required: bool = True) -> Kind:
    """The aggregate as its stream says, at version 0 if the stream has no event.

    Raises `data_keys.MissingKey` with `keys_required` if the stream cannot be read without a key that is missing.
    """
    aggregate = kind(id)
    resumed = _resumed(aggregate, keys_required)
    aggregate, later = resumed or (aggregate, store.read_stream(aggregate.stream, keys_required=keys_required))
    remembered = aggregate.version
    aggregate.fold(later)
    if aggregate.erased:
        _forget(aggregate.stream)  # the name must not stay in memory either
    elif aggregate.version - remembered >= LONG:
        _keep(aggregate)
    return aggregate


def _resumed(blank: Kind, keys_required: bool) -> tuple[Kind, Iterator[RecordedEvent]] | None:
    """A copy of the snapshot, which the caller may change, and the later events; None without a valid snapshot."""
    with _lock:
        kept = _kept.get(blank.stream)
    if kept is None or kept.last is None:
        return None
    history = store.read_stream(blank.stream, after_version=kept.version - 1, keys_required=keys_required)
    last = next(history, None)
    if last is None or last.event_id != kept.last.event_id:
        _forget(blank.stream)
        return None
    return deepcopy(kept), history  # type: ignore[return-value]


def _keep(aggregate: Aggregate) -> None:
    with _lock:
        _kept[aggregate.stream] = deepcopy(aggregate)
        _kept.move_to_end(aggregate.stream)
        while len(_kept) > KEPT:
            _kept.popitem(last=False)


def _forget(stream: str) -> None:
    with _lock:
        _kept.pop(stream, None)
