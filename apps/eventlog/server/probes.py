"""Probes: is the process alive, and do its databases answer?"""

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from functools import cache

from django.conf import settings
from django.db import DEFAULT_DB_ALIAS, Error, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations.loader import MigrationLoader
from django.http import HttpRequest, HttpResponse, JsonResponse

from apps.eventlog.api.problems import NO_SNIFFING
from apps.eventlog.database.lock_timeout import Locked, lock_timeout
from apps.eventlog.delivery import identity
from apps.eventlog.relay import heartbeats
from apps.eventlog.relay.webhooks import endpoints, progress
from apps.eventlog.sealing import seals

LIVEZ, READYZ = "/livez", "/readyz"
DEADLINE = 1.5  # seconds for which a database is waited for
KEPT = 1.0  # seconds for which an answer of a database is given again, if there are many probes

PATIENCE = 0.5  # seconds for which a service waits to hear that the log answers

AWAY, READ_ONLY, MIGRATIONS_MISSING, LOG_WENT_BACK = "away", "read_only", "migrations_missing", "log_went_back"
State = str | bool  # True, or the reason why a database does not do


class ProbeMiddleware:
    """Answers probes before anything else. They come without TLS, and for a host that is not in ALLOWED_HOSTS.

    The ASGI server answers them itself, so this is for any other server.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if request.path_info == LIVEZ:
            return livez()
        return readiness.wait() if request.path_info == READYZ else self.get_response(request)


def livez() -> HttpResponse:
    """200 if the process answers. No database is asked."""
    return HttpResponse("ok\n", content_type="text/plain; charset=utf-8", headers=NO_SNIFFING)


class Look:
    """One look at a database, in a thread of its own."""

    def __init__(self, alias: str, before: "Look | None") -> None:
        self.began = time.monotonic()
        # Two looks in a second see what has just changed. More would let a crowd of probes cost a crowd of connections.
        self.kept = KEPT if before and self.began - before.began < KEPT else 0.0
        self.state: Future[State] = Future()
        threading.Thread(target=self._work, args=[alias], name=f"probe of {alias}", daemon=True).start()

    def _work(self, alias: str) -> None:
        try:
            state = state_of(alias)
        except Exception:  # whatever it is, the database does not do
            state = AWAY
        finally:
            connections.close_all()  # those of this thread
        self.state.set_result(state)

    @property
    def fresh(self) -> bool:
        """Need the database not be asked again? It is never asked twice at once, however long it hangs."""
        return not self.state.done() or time.monotonic() - self.began < self.kept

    @property
    def left(self) -> float:
        """Seconds until the database is said to be away."""
        return 0.0 if self.state.done() else max(0.0, self.began + DEADLINE - time.monotonic())


class Readiness:
    """The state of every database, in time for a probe: each is asked by itself, and not again for a moment.

    Once the server is `stopping`, it is not ready any more, and no database is asked.
    """

    stopping = False

    def __init__(self) -> None:
        self.looks: dict[str, Look] = {}
        self.lock = threading.Lock()

    async def answer(self) -> HttpResponse:
        """The answer, on the event loop."""
        if self.stopping:
            return JsonResponse({"server": "stopping"}, status=503, headers=NO_SNIFFING)
        looks = self._look()
        waited = [asyncio.wrap_future(look.state) for look in looks.values() if look.left]
        if waited:
            # A shield, because a future that is given up here would be given up for all who look.
            await asyncio.wait([asyncio.shield(each) for each in waited], timeout=_longest(looks))
        return _answer(looks)

    def wait(self) -> HttpResponse:
        """The answer, in a thread."""
        looks = self._look()
        wait([look.state for look in looks.values()], timeout=_longest(looks))
        return _answer(looks)

    def _look(self) -> dict[str, Look]:
        with self.lock:
            for alias in connections:
                last = self.looks.get(alias)
                if last is None or not last.fresh:
                    self.looks[alias] = Look(alias, last)
            return dict(self.looks)


readiness = Readiness()


def _longest(looks: dict[str, Look]) -> float:
    return max(look.left for look in looks.values())


def _answer(looks: dict[str, Look]) -> HttpResponse:
    states = {alias: look.state.result() if look.state.done() else AWAY for alias, look in looks.items()}
    status = 200 if all(state is True for state in states.values()) else 503
    return JsonResponse(states, status=status, headers=NO_SNIFFING)


def state_of(alias: str) -> State:
    """True, or the first reason why a database does not do. Raises if it does not answer."""
    connection = connections[alias]
    connection.ensure_connection()
    return next((reason for reason, holds in REASONS.items() if holds(connection)), True)


def _lacks_migrations(connection: BaseDatabaseWrapper) -> bool:
    """Has `migrate` not run since the code was deployed?"""
    with connection.cursor() as cursor:
        try:
            cursor.execute("SELECT app, name FROM django_migrations")
        except Error as error:
            if getattr(error.__cause__, "sqlstate", None) == "42501":
                return False  # a role that may not look cannot tell, and must not be taken for a database that is away
            if "django_migrations" in connection.introspection.table_names(cursor):
                raise
            return True
        return not _migrations() <= set(cursor.fetchall())


@cache
def _migrations() -> frozenset[tuple[str, str]]:
    """All migrations of this code; `migrate` records each of them in each database."""
    return frozenset(MigrationLoader(None, ignore_no_migrations=True).disk_migrations or ())


def _is_read_only(connection: BaseDatabaseWrapper) -> bool:
    """Does the database take no writes at the moment?"""
    if connection.vendor == "sqlite":
        return _refuses_a_writer(connection)
    with connection.cursor() as cursor:
        cursor.execute("SHOW transaction_read_only")
        return cursor.fetchone() == ("on",)


def _refuses_a_writer(connection: BaseDatabaseWrapper) -> bool:
    try:
        with lock_timeout(connection.alias, 0), connection.cursor() as cursor:
            cursor.execute("BEGIN IMMEDIATE")
            cursor.execute("ROLLBACK")
    except Locked:
        return False  # another one writes
    except Error as error:
        if "readonly" in str(error):
            return True
        raise
    return False


def _log_went_back(connection: BaseDatabaseWrapper) -> bool:
    """Does a database show, in its rows, seals, relays or endpoints, events that the log does not have?"""
    if connection.alias == settings.EVENTLOG:
        return seals.went_back() or bool(heartbeats.went_back())
    if connection.alias == DEFAULT_DB_ALIAS:
        return bool(endpoints.went_back() or (_log_answers() and progress.went_back()))
    return connection.alias in READING and _log_answers() and bool(identity.went_back(connection.alias))


def _log_answers() -> bool:
    """Can the log be asked? If it cannot, its own state says so."""
    with readiness.lock:
        log = readiness.looks.get(settings.EVENTLOG)
    try:
        return log is not None and log.state.result(PATIENCE) in (True, LOG_WENT_BACK)
    except TimeoutError:
        return False


READING = (*settings.SERVICES, settings.PROCESSES)  # whose checkpoints say which log they have read

# What may be wrong with a database that answers; the first that holds is the one that is told.
REASONS: dict[str, Callable[[BaseDatabaseWrapper], bool]] = {
    READ_ONLY: _is_read_only,
    MIGRATIONS_MISSING: _lacks_migrations,
    LOG_WENT_BACK: _log_went_back,
}
