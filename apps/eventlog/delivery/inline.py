"""What follows a command in its own process, with PROJECTIONS=inline: its events are projected and reacted to."""

import logging
import math
import time
from collections.abc import Callable
from functools import partial
from threading import Event, Thread

from django.conf import settings
from django.db import connections

from apps.eventlog import projectors, store
from apps.eventlog.commands import Outcome
from apps.eventlog.database.lock_timeout import Locked
from apps.eventlog.delivery import checkpoints, identity, projecting, reacting

logger = logging.getLogger(__name__)

LOCK_TIMEOUT = 0.05  # seconds for which a caller that does not wait gives way to another writer of a read database
TIME_LIMIT = 0.5  # seconds for which such a caller projects, or reacts, in a service; a thread does the rest
appended = Event()  # set by each command; a server's follower waits for it

PATIENCE = 10.0  # seconds for which a caller that waits does so if another process projects


def follow(outcome: Outcome, *, wait: bool) -> None:
    """After a commit, bring the projectors and reactors that follow its events up to the log.

    If `wait` is true, this returns when the rows show the events. If not, it works for a moment, and if others write
    to the rows or there is a backlog, a thread does the rest. The events are safe whatever happens here, so a failure
    is logged and the command stands.
    """
    if settings.PROJECTIONS != "inline" or not outcome.types:
        return
    following = projectors.services_following(outcome.categories)
    limits = (None, math.inf) if wait else (LOCK_TIMEOUT, TIME_LIMIT)
    if not _work(following, outcome, *limits):
        Thread(target=_work_later, args=[following, outcome], name=f"follow {outcome.stream}", daemon=True).start()
    appended.set()
    if wait:
        _wait(following, outcome)


def _work(following: list[str], outcome: Outcome, lock_timeout: float | None, time_limit: float) -> bool:
    """Project and react in each service; False if a limit ended some of it."""
    project = partial(projecting.catch_up, lock_timeout=lock_timeout)
    work: list[tuple[Callable[..., None], str]] = [(project, service) for service in following]
    work += [(reacting.catch_up, service) for service in {*following, *reacting.services_taking(outcome.types)}]
    finished = True
    for catch_up, service in work:
        late = _after(time_limit)
        try:
            catch_up(service, stopped=late)
            finished &= not late()
        except Locked:
            finished = False
        except Exception:
            logger.exception("The events of %s are in the log, but %s could not follow them", outcome.stream, service)
    return finished


def _after(seconds: float) -> Callable[[], bool]:
    deadline = time.monotonic() + seconds
    return lambda: time.monotonic() > deadline


def _work_later(following: list[str], outcome: Outcome) -> None:
    try:
        _work(following, outcome, None, math.inf)
    finally:
        connections.close_all()  # those of this thread


def _wait(following: list[str], outcome: Outcome) -> None:
    """Until the rows show the outcome and what its reactions appended, also if another process projects them."""
    head, late = store.head(), _after(PATIENCE)
    for service in projectors.services() if head > outcome.position else following:
        try:
            while not checkpoints.stands_at(service, head) and not identity.stopped(service):
                if late():
                    logger.warning("%s does not show position %s after %s seconds", service, head, PATIENCE)
                    return
                projecting.catch_up(service)
                time.sleep(0.002)
        except Exception:
            logger.exception("The events of %s are in the log, but %s could not follow them", outcome.stream, service)
