"""Single rows as they stood: folded from their own stream, up to a position of the log."""

from datetime import datetime
from typing import Any
from uuid import UUID

from apps.eventlog import store
from apps.eventlog.projectors import RowProjector


def row_at(kind: type[RowProjector], id: UUID, position: int) -> Any | None:
    """The row of a stream as the projector would have left it at a position; None before its first event."""
    history = list(store.read_stream(f"{kind.category}-{id}", until=position))
    return kind().fold(kind.model(pk=id), history) if history else None


def position_then(stream: str, at: datetime | None, version: int | None) -> int | None:
    """The position that an instant means, or at which a stream reached a version; None for one it never had."""
    if at is not None:
        return store.position_at(at)
    return store.find(stream=stream, stream_version=version).values_list("position", flat=True).first()
