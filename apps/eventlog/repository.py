"""Load an aggregate, let it decide, append what it decided: the whole write path."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar
from uuid import UUID

from apps.eventlog import reservations, snapshots, store
from apps.eventlog.aggregates import Aggregate, Erased
from apps.eventlog.commands import running

Kind = TypeVar("Kind", bound=Aggregate)


class NotFound(Exception):
    """There is no such aggregate, or it is another's, which looks the same."""


class Forbidden(Exception):
    """The actor may see the aggregate but not do this."""


class PreconditionFailed(Exception):
    """The aggregate is not at the version that the command was made conditional on."""


@contextmanager
def creating(kind: type[Kind], id: UUID) -> Iterator[Kind]:
    """A new aggregate to record the first events of; appended when the block ends well.

    Raises `NotFound` where the actor would create something for another, and `PreconditionFailed`.
    """
    aggregate = kind(id)
    _require_version(aggregate)
    yield aggregate
    require_owner(aggregate.owner)
    _append(aggregate)


def require_owner(owner: UUID | None) -> None:
    """Raise `NotFound` unless the actor is this user or staff."""
    if not running.get().actor.owns(owner):
        raise NotFound("not found")


@contextmanager
def editing(kind: type[Kind], id: UUID, *, staff_only: bool = False, even_erased: bool = False) -> Iterator[Kind]:
    """The aggregate, to call its methods; what they record is appended when the block ends well.

    Raises `NotFound`, `Forbidden` where the actor is not staff and `staff_only` is set, `Erased` unless
    `even_erased`, `PreconditionFailed`, and `store.WrongExpectedVersion` where another was faster.
    """
    run = running.get()
    aggregate = snapshots.load(kind, id)
    if not aggregate.version:
        raise NotFound("not found")
    require_owner(aggregate.owner)
    if staff_only and not run.actor.is_staff:
        raise Forbidden("only staff may do this")
    if aggregate.erased and not even_erased:
        raise Erased("the person was erased")
    _require_version(aggregate)
    yield aggregate
    _append(aggregate)


def _require_version(aggregate: Aggregate) -> None:
    if running.get().expected_version not in (None, aggregate.version):
        raise PreconditionFailed(f"{aggregate.stream} is at version {aggregate.version}")


def _append(aggregate: Aggregate) -> None:
    run = running.get()
    if aggregate.pending_claims or run.complete:
        with store.unit():
            for scope, key, taken in aggregate.pending_claims:
                (reservations.reserve if taken else reservations.release)(scope, key, aggregate.stream)
            _append_events(aggregate)
            if run.complete:
                run.complete(run.stream, run.version, run.position)
    else:
        _append_events(aggregate)


def _append_events(aggregate: Aggregate) -> None:
    run = running.get()
    run.stream, run.version, run.position = aggregate.stream, aggregate.version, aggregate.position
    if aggregate.pending_events:
        appended = store.append(
            aggregate.stream, aggregate.pending_events, expected_version=aggregate.version, metadata=run.metadata
        )
        run.version, run.position = appended.version, appended.position
        run.types |= {event.type for event in aggregate.pending_events}
