"""The one write door: `dispatch(command)` runs the one handler of a command."""

from collections.abc import Callable
from contextlib import nullcontext
from contextvars import copy_context
from typing import Any, TypeVar
from uuid import UUID

import uuid_utils.compat as uuids
from django.db import DatabaseError, InterfaceError, transaction

from apps.eventlog import commands, store
from apps.eventlog.aggregates import Erased, RuleBroken
from apps.eventlog.commands import SYSTEM, Actor, Command, Outcome, Request
from apps.eventlog.delivery import inline
from apps.eventlog.encryption.data_keys import MissingKey, WrongKey
from apps.eventlog.events import InvalidEvent, Payload, RecordedEvent, UnknownEvent
from apps.eventlog.failpoints import failpoint
from apps.eventlog.log import queries
from apps.eventlog.log.engine import engine
from apps.eventlog.monitoring import origin, spans, visit
from apps.eventlog.monitoring.dispatched import dispatched
from apps.eventlog.monitoring.origin import Origin
from apps.eventlog.repository import Forbidden, NotFound, PreconditionFailed, event_id
from apps.eventlog.reservations import Reserved

C = TypeVar("C", bound=Command)
Handler = Callable[[C], None]

# A race is lost only when another has won, so a few tries see most crowds through.
TRIES = 5

# What the log line and the metrics call the outcome of a command that raises one of these.
OUTCOMES: dict[str, tuple[type[Exception], ...]] = {
    "refused": (RuleBroken, Erased, Reserved, NotFound, Forbidden, PreconditionFailed, InvalidEvent),
    "conflict": (store.WrongExpectedVersion,),
    "unavailable": (DatabaseError, InterfaceError, MissingKey, WrongKey, UnknownEvent),
}

_handlers: dict[type[Command], Handler[Any]] = {}
_named: dict[str, type[Command]] = {}


def handles(command_type: type[C]) -> Callable[[Handler[C]], Handler[C]]:
    """Register the one handler of a command."""

    def register(handler: Handler[C]) -> Handler[C]:
        if command_type in _handlers:
            raise TypeError(f"{command_type.__name__} has a handler already")
        if not command_type.permission:
            raise TypeError(f"{command_type.__name__} declares no permission")
        _handlers[command_type] = handler
        _named[name_of(command_type)] = command_type
        return handler

    return register


def name_of(command_type: type[Command]) -> str:
    """The name of a command across services, `orders.PayOrder`, like the type of an event."""
    service = command_type.__module__.removesuffix(".write.commands").rpartition(".")[2]
    return f"{service}.{command_type.__name__}"


def command_named(name: str) -> type[Command]:
    """The command with this name that has a handler. Raises LookupError if there is none."""
    if name not in _named:
        raise LookupError(f"no handler takes a command {name}")
    return _named[name]


def dispatch(
    command: Command,
    *,
    actor: Actor = SYSTEM,
    expected_version: int | None = None,
    cause: RecordedEvent | None = None,
    complete: Callable[[Outcome], None] | None = None,
    command_id: UUID | None = None,
    correlation_id: str | None = None,
    metadata: Payload | None = None,
    wait: bool = True,
) -> Outcome:
    """Run a command and return its outcome; its events are committed when this returns.

    With PROJECTIONS=inline, the events are also projected and reacted to: before this returns if `wait` is true;
    otherwise for a moment only, and a thread does the rest.

    With `expected_version`, raises `PreconditionFailed` if the aggregate has another version. Without it, a lost race
    is run again a few times, and then raises `store.WrongExpectedVersion`. `cause` is the event that led to the
    command. `complete` is called with the outcome in the transaction of the append. `correlation_id` has up to 200
    printable characters. Its events carry the ids of the request that led to it, and with them `metadata`.

    A command with a `command_id` takes effect once, all of it or nothing, however often it is sent; sent again, it has
    the outcome of its first event. With a `cause`, such an id is derived (see `Reactor`).

    Raises what the handler raises: `RuleBroken`, `NotFound`, `Forbidden`, `reservations.Reserved`; `Forbidden` also for
    staff without its permission; `InvalidEvent` for metadata that cannot be stored.
    """
    name = type(command).__name__
    led_to_it = Origin.of_event(cause.metadata) if cause else origin.current()
    with spans.within("dispatch", led_to_it.traceparent, command=name):
        described = (metadata or {}) | _metadata(name, actor, cause, led_to_it, correlation_id)
        ids = Origin.of_event(described)
        with dispatched(name, actor, ids, OUTCOMES) as seen:
            if actor.is_staff and not actor.may(command.permission):
                raise Forbidden(f"this needs the permission {command.permission}")
            if command_id is None and cause is not None:
                command_id = commands.id_in_reaction(command, cause.event_id)
            request = Request(actor, described, expected_version, command_id)
            outcome = seen.outcome = copy_context().run(_handle, command, request, complete)
        failpoint("appended")
        if cause is None:
            visit.correlate(ids.correlation_id)
        # A command inside a reaction does not wait: whoever delivers the event that caused it waits for the rows.
        transaction.on_commit(lambda: inline.follow(outcome, wait=wait and cause is None), using=store.ALIAS)
    return outcome


def _handle(command: Command, request: Request, complete: Callable[[Outcome], None] | None) -> Outcome:
    """Run the handler, again after each lost race unless the command is conditional."""
    commands.request.set(request)
    for attempt in range(1, TRIES + 1):
        commands.outcome.set(Outcome())
        try:
            # One transaction for all appends of a command that may come again, and for what `complete` writes.
            with store.unit() if complete or request.id else nullcontext():
                if not (request.id and _has_taken_effect(request.id)):
                    _handlers[type(command)](command)
                outcome = commands.outcome.get()
                if complete:
                    complete(outcome)
            return outcome
        except store.WrongExpectedVersion as lost:
            if request.expected_version is not None:
                raise PreconditionFailed(str(lost)) from lost
            if attempt == TRIES:
                raise
        except Exception:
            # The same command, sent by somebody else meanwhile, may be why this one is refused.
            if not (request.id and _has_taken_effect(request.id)):
                raise
            return commands.outcome.get()
    raise AssertionError("the last try returns or raises")


def _has_taken_effect(command_id: UUID) -> bool:
    """Is the first event of the command in the log? Then that is the outcome."""
    for first in engine().read(queries.with_ids([event_id(command_id, 1)])):
        commands.outcome.set(Outcome(first.stream, first.stream_version, first.position))
        return True
    return False


def _metadata(
    name: str, actor: Actor, cause: RecordedEvent | None, led_to_it: Origin, correlation_id: str | None
) -> Payload:
    """The metadata of each event of the command: who sent it, and which request and event led to it."""
    command_id = str(uuids.uuid7())
    ids = led_to_it._replace(
        traceparent=spans.traceparent() or led_to_it.traceparent,
        correlation_id=correlation_id or led_to_it.correlation_id or command_id,
    )
    causation_id = str(cause.event_id) if cause else command_id
    return {"actor": actor.name, "command": name, "causation_id": causation_id, **ids.known()}
