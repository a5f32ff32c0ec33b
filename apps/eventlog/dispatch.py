"""The one write door: `dispatch(command)` runs the one handler of a command."""

import logging
import math
import time
from collections.abc import Callable
from functools import partial
from threading import Thread, current_thread, main_thread
from typing import Any, TypeVar

import uuid_utils.compat as uuids
from django.conf import settings
from django.db import connections, transaction

from apps.eventlog import attempts, delivery, projectors, reactors, store
from apps.eventlog.commands import SYSTEM, Actor, Command, Run, running
from apps.eventlog.events import RecordedEvent
from apps.eventlog.failpoints import failpoint
from apps.eventlog.repository import PreconditionFailed

logger = logging.getLogger(__name__)

C = TypeVar("C", bound=Command)
Handler = Callable[[C], None]

# A race is lost only when another has won, so a few tries see most crowds through.
TRIES = 5

LOCK_TIMEOUT = 0.05  # seconds for which a request waits for another writer of a read database
TIME_LIMIT = 0.5  # seconds for which it projects, or reacts, in a service; a longer backlog is left to a thread

_handlers: dict[type[Command], Handler[Any]] = {}


def handles(command_type: type[C]) -> Callable[[Handler[C]], Handler[C]]:
    """Register the one handler of a command."""

    def register(handler: Handler[C]) -> Handler[C]:
        if command_type in _handlers:
            raise TypeError(f"{command_type.__name__} has a handler already")
        _handlers[command_type] = handler
        return handler

    return register


def dispatch(
    command: Command,
    *,
    actor: Actor = SYSTEM,
    expected_version: int | None = None,
    cause: RecordedEvent | None = None,
    complete: Callable[[str, int, int], None] | None = None,
) -> Run:
    """Run a command; its events are committed when this returns, and inline also projected.

    With `expected_version` it fails where the aggregate has moved on (`PreconditionFailed`);
    without, a lost race is run again a few times, then raises `store.WrongExpectedVersion`.
    `cause` is the event that led to the command; `complete` see `Run`. Raises what the handler
    raises: `RuleBroken`, `NotFound`, `Forbidden`, `reservations.Reserved`.
    """
    run = Run(actor, _metadata(command, actor, cause), expected_version, complete)
    token = running.set(run)
    try:
        _run(command, conditional=expected_version is not None)
    finally:
        running.reset(token)
    failpoint("appended")
    # A management command waits for all of it, for its process ends with it; a request need not.
    limits = () if current_thread() is main_thread() else (LOCK_TIMEOUT, TIME_LIMIT)
    transaction.on_commit(lambda: follow(run, *limits), using=store.ALIAS)
    return run


def follow(run: Run, lock_timeout: float | None = None, time_limit: float = math.inf) -> None:
    """After a commit, inline: bring the projectors and reactors that follow its events up to the log.

    The event is safe whatever happens here, so a failure is logged and the command stands. Where somebody else writes
    to the rows for more than `lock_timeout` seconds, or a service has work for more than `time_limit`, a thread goes
    on with it.
    """
    if settings.PROJECTIONS != "inline":
        return
    services = projectors.services_following(run.stream.partition("-")[0])
    project = partial(delivery.catch_up, lock_timeout=lock_timeout)
    work: list[tuple[Callable[..., None], str]] = [(project, service) for service in services]
    work += [(reactors.catch_up, service) for service in {*services, *reactors.services_taking(run.types)}]
    unfinished = False
    for catch_up, service in work:
        late = _after(time_limit)
        try:
            catch_up(service, stopped=late)
            unfinished |= late()
        except attempts.Locked:
            unfinished = True
        except Exception:
            logger.exception("The events of %s are in the log, but %s could not follow them", run.stream, service)
    if unfinished:
        Thread(target=_follow_later, args=[run], name=f"follow {run.stream}", daemon=True).start()


def _after(seconds: float) -> Callable[[], bool]:
    deadline = time.monotonic() + seconds
    return lambda: time.monotonic() > deadline


def _follow_later(run: Run) -> None:
    try:
        follow(run)
    finally:
        connections.close_all()  # those of this thread


def _run(command: Command, *, conditional: bool) -> None:
    for attempt in range(1, TRIES + 1):
        try:
            return _handlers[type(command)](command)
        except store.WrongExpectedVersion as lost:
            if conditional:
                raise PreconditionFailed(str(lost)) from lost
            if attempt == TRIES:
                raise
    return None


def _metadata(command: Command, actor: Actor, cause: RecordedEvent | None) -> dict[str, str]:
    command_id = str(uuids.uuid7())
    return {
        "actor": actor.name,
        "command": type(command).__name__,
        "correlation_id": cause.metadata.get("correlation_id", command_id) if cause else command_id,
        "causation_id": str(cause.event_id) if cause else command_id,
    }
