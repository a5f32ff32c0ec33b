"""The one write door: `dispatch(command)` runs the one handler of a command."""

from collections.abc import Callable
from contextlib import nullcontext
from contextvars import copy_context
from typing import Any, TypeVar

import uuid_utils.compat as uuids
from django.db import transaction

from apps.eventlog import commands, store
from apps.eventlog.commands import SYSTEM, Actor, Command, Outcome, Request
from apps.eventlog.delivery import inline
from apps.eventlog.events import Payload, RecordedEvent
from apps.eventlog.failpoints import failpoint
from apps.eventlog.repository import Forbidden, PreconditionFailed

C = TypeVar("C", bound=Command)
Handler = Callable[[C], None]

# A race is lost only when another has won, so a few tries see most crowds through.
TRIES = 5

_handlers: dict[type[Command], Handler[Any]] = {}


def handles(command_type: type[C]) -> Callable[[Handler[C]], Handler[C]]:
    """Register the one handler of a command."""

    def register(handler: Handler[C]) -> Handler[C]:
        if command_type in _handlers:
            raise TypeError(f"{command_type.__name__} has a handler already")
        if not command_type.permission:
            raise TypeError(f"{command_type.__name__} declares no permission")
        _handlers[command_type] = handler
        return handler

    return register


def dispatch(
    command: Command,
    *,
    actor: Actor = SYSTEM,
    expected_version: int | None = None,
    cause: RecordedEvent | None = None,
    complete: Callable[[Outcome], None] | None = None,
    correlation_id: str | None = None,
    metadata: Payload | None = None,
    wait: bool = True,
) -> Outcome:
    """Run a command and return its outcome; its events are committed when this returns.

    With PROJECTIONS=inline, the events are also projected and reacted to: before this returns if `wait` is true;
    otherwise for a moment only, and a thread does the rest.

    With `expected_version`, raises `PreconditionFailed` if the aggregate has another version. Without it, a lost race
    is run again a few times, and then raises `store.WrongExpectedVersion`. `cause` is the event that led to the
    command. `complete` is called with the outcome in the transaction of the append. Raises what the handler raises:
    `RuleBroken`, `NotFound`, `Forbidden`, `reservations.Reserved`; `Forbidden` also for staff without its permission.
    """
    if actor.is_staff and not actor.may(command.permission):
        raise Forbidden(f"this needs the permission {command.permission}")
    request = Request(actor, (metadata or {}) | _metadata(command, actor, cause, correlation_id), expected_version)
    outcome = copy_context().run(_handle, command, request, complete)
    failpoint("appended")
    # Nothing waits inside a reaction: the caller who has its cause delivered waits for what follows from it.
    transaction.on_commit(lambda: inline.follow(outcome, wait=wait and cause is None), using=store.ALIAS)
    return outcome


def _handle(command: Command, request: Request, complete: Callable[[Outcome], None] | None) -> Outcome:
    """Run the handler, again after each lost race unless the command is conditional."""
    commands.request.set(request)
    for attempt in range(1, TRIES + 1):
        commands.outcome.set(Outcome())
        try:
            # One transaction for the append and what `complete` writes.
            with store.unit() if complete else nullcontext():
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
    raise AssertionError("the last try returns or raises")


def _metadata(command: Command, actor: Actor, cause: RecordedEvent | None, correlation_id: str | None) -> Payload:
    command_id = str(uuids.uuid7())
    inherited = cause.metadata.get("correlation_id") if cause else None
    return {
        "actor": actor.name,
        "command": type(command).__name__,
        "correlation_id": correlation_id or inherited or command_id,
        "causation_id": str(cause.event_id) if cause else command_id,
    }
