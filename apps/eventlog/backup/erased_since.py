"""Erasures that a restore would undo: people who were erased after the backup was taken.

The log that is about to be replaced knows of them, if it can still be read. Their erasing events are kept, and the
repairs write them into the restored log.
"""

from collections.abc import Sequence

import msgspec
import uuid_utils.compat as uuids

from apps.eventlog import reservations, store
from apps.eventlog.events import DomainEvent, Place, current_name
from apps.eventlog.log import places
from apps.eventlog.log.importing import ExportedEvent, exported


def erased_since(place: Place) -> list[str]:
    """Lines of an export with each event of this log, beyond a place, that erased somebody.

    If the log has not this place, it is another history, and all of its erasures count.
    """
    types = [name for name, kind in DomainEvent.types.items() if kind.erases]
    after = place.position if places.has(place) else 0
    return [exported(recorded).decode() for recorded in store.read_all(after=after, types=types, encrypted=True)]


def carry_over(lines: Sequence[str]) -> int:
    """Write these events behind the streams of the restored log that know of no erasure; returns how many.

    They get another id and another position: a follower elsewhere, which stands at the event that the old log had,
    would otherwise find it and miss that the log went back. A stream that the restored log does not have began after
    the backup, and needs none. Safe to repeat.
    """
    written = 0
    for line in lines:
        event = msgspec.json.decode(line, type=ExportedEvent)
        history = list(store.read_stream(event.stream))
        if history and current_name(event.type) not in {recorded.type for recorded in history}:
            event.stream_version, event.event_id = history[-1].stream_version + 1, uuids.uuid7()
            event.position = 1  # it takes the next one
            written += store.import_events([event], _follow)
    return written


def _follow(streams: set[str]) -> None:
    reservations.follow(streams)
