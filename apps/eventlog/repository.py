"""Load an aggregate, let it decide, append what it decided: the whole write path."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar
from uuid import UUID

from apps.eventlog import commands, reservations, snapshots, store
from apps.eventlog.aggregates import Aggregate, Erased
from apps.eventlog.commands import Outcome, derived_id
from apps.eventlog.events import UnknownEvent
from apps.eventlog.monitoring import spans

Kind = TypeVar("Kind", bound=Aggregate)


class NotFound(Exception):
    """There is no such aggregate, or it belongs to somebody else; the answer must not tell which."""


class Forbidden(Exception):
    """The actor may see the aggregate but not do this."""


class PreconditionFailed(Exception):
    """The aggregate is not at the version that the command was made conditional on."""


@contextmanager
def creating(kind: type[Kind], id: UUID, *, if_absent: bool = False) -> Iterator[Kind]:
    """A new aggregate. What its methods record is appended if the block ends without an error.

    With `if_absent`, it is appended only if there is no such aggregate yet; otherwise nothing happens, so a command
    that comes again is no error. Raises `NotFound` if the actor would create something that belongs to somebody else,
    and `PreconditionFailed`.
    """
    aggregate = kind(id)
    known = _load(kind, id, keys_required=False) if if_absent else aggregate
    _require_version(known)
    yield aggregate
    require_owner(aggregate.owner)
    if known.version:
        require_owner(known.owner)
        _append_events(known)
    else:
        _append(aggregate, held=set())


def require_owner(owner: UUID | None) -> None:
    """Raise `NotFound` unless the sender of the command that is being handled is this user or staff."""
    if not commands.request.get().actor.owns(owner):
        raise NotFound("not found")


@contextmanager
def editing(kind: type[Kind], id: UUID, *, staff_only: bool = False, even_erased: bool = False) -> Iterator[Kind]:
    """The aggregate as it is now. What its methods record is appended if the block ends without an error.

    Raises `NotFound`, `Forbidden` with `staff_only` if the actor is not staff, `Erased` without `even_erased` if the
    person was erased, `PreconditionFailed`, and `store.WrongExpectedVersion` if somebody else appended first. Raises
    `data_keys.MissingKey` without `even_erased` if the person's data key is missing; to be erased, nobody needs one.
    Raises `events.UnknownEvent` if this code cannot read the stream.
    """
    aggregate = _load(kind, id, keys_required=not even_erased)
    if not aggregate.version:
        raise NotFound("not found")
    require_owner(aggregate.owner)
    if staff_only and not commands.request.get().actor.is_staff:
        raise Forbidden("only staff may do this")
    if aggregate.erased and not even_erased:
        raise Erased("the person was erased")
    _require_version(aggregate)
    held = aggregate.holds()
    yield aggregate
    _append(aggregate, held)


def _load(kind: type[Kind], id: UUID, *, keys_required: bool) -> Kind:
    try:
        return snapshots.load(kind, id, keys_required=keys_required)
    except UnknownEvent:
        require_owner(_first_owner(kind, id))  # others must not learn that there is such a stream
        raise


def _first_owner(kind: type[Kind], id: UUID) -> UUID | None:
    """The owner that the first event of a stream decides; None if this code cannot read it."""
    try:
        return kind(id).fold(store.read_stream(kind(id).stream, limit=1)).owner
    except UnknownEvent:
        return None


def _require_version(aggregate: Aggregate) -> None:
    if commands.request.get().expected_version not in (None, aggregate.version):
        raise PreconditionFailed(f"{aggregate.stream} is at version {aggregate.version}")


def _append(aggregate: Aggregate, held: set[tuple[str, str]]) -> None:
    """Append what the aggregate recorded, together with the difference between what it held and what it holds now."""
    holds = aggregate.holds()
    if holds == held:
        _append_events(aggregate)
        return
    with store.unit():
        if aggregate.erased:
            # By the stream: without the data key, nobody can say which values the aggregate held.
            reservations.release_all(aggregate.stream)
            held = holds
        for scope, value in held - holds:
            reservations.release(scope, value, aggregate.stream)
        for scope, value in holds - held:
            reservations.reserve(scope, value, aggregate.stream, aggregate.holds_form)
        _append_events(aggregate)


def _append_events(aggregate: Aggregate) -> None:
    version, position, events = aggregate.version, aggregate.position, aggregate.pending_events
    if events:
        ids, metadata = _event_ids(len(events)), commands.request.get().metadata
        with spans.span("append", category=aggregate.category, events=len(events)):
            appended = store.append(
                aggregate.stream, events, expected_version=version, metadata=metadata, event_ids=ids
            )
        version, position = appended.version, appended.position
    before = commands.outcome.get()
    categories = before.categories | ({aggregate.category} if events else set())
    types = before.types | {event.type for event in events}
    number = before.events + len(events)
    commands.outcome.set(Outcome(aggregate.stream, version, position, categories, types, number))


def _event_ids(number: int) -> list[UUID] | None:
    """The ids of the next events of a command that has an id."""
    command, before = commands.request.get().id, commands.outcome.get().events
    return None if command is None else [event_id(command, before + n) for n in range(1, number + 1)]


def event_id(command: UUID, number: int) -> UUID:
    """The id of an event, the first or a later one, of a command that has an id."""
    return derived_id(command, "event", str(number))
