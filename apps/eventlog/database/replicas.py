"""Replicas of read databases, at which queries read; if one does not answer, they read at the primary.

Within a query, the thread's connection to the database of a service is that of its replica. So the same code asks
either, and what a query has found out about a position holds for the rows that it reads.
"""

import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

from django.conf import settings
from django.db import Error, connections
from django.db.utils import ConnectionHandler

from apps.eventlog.database.dead_connections import close_if_dead
from apps.eventlog.errors.texts import without_values

logger = logging.getLogger(__name__)

T = TypeVar("T")

PAUSE = 1.0  # seconds between two looks at a replica
PATIENCE = 2.0  # seconds within which it must answer one; this process may be busy itself
SAY_AGAIN = 60.0  # seconds between two lines about queries that fail there
TIMED_OUT = "57014"  # PostgreSQL's code; such a query would take as long at the primary

# The connections of each thread, by the alias of the primary. Django asks for a `default`.
replicas = ConnectionHandler({"default": {}, **settings.REPLICAS})


class ReplicaFailed(Exception):
    """A query cannot be answered at the replica, so the primary must be asked."""


class Replica:
    """What this process knows of the replica of a service.

    A thread looks at it, so no request waits for one that is away. A query that hangs there is ended as soon as the
    replica does not answer a look: its connection is cut.
    """

    def __init__(self, service: str) -> None:
        self.service, self.there = service, False
        self.lock, self.used = threading.Lock(), set[Any]()
        self.said, self.complained = "", 0.0
        threading.Thread(target=self._watch, name=f"replica of {service}", daemon=True).start()

    def _watch(self) -> None:
        # A thread of its own looks, with its own connection, because it may hang.
        with suppress(RuntimeError), ThreadPoolExecutor(1) as looking:  # raised when the process ends
            while True:
                self._judge(looking.submit(self._look))
                time.sleep(PAUSE)

    def _look(self) -> None:
        connection = replicas[self.service]
        try:
            with self.using(connection), connection.cursor() as cursor:
                cursor.execute("SELECT 1")
        except BaseException:
            connection.close()
            raise

    def _judge(self, look: Future[None]) -> None:
        wait([look], PATIENCE)
        if not look.done():
            self.lose(f"it does not answer within {PATIENCE:.0f} s")
            self._cut()
            wait([look])
        elif error := look.exception():
            self.lose(without_values(error))
        else:
            self.there = True
            self._say(logging.INFO, "the replica of %s answers: queries read there%s", "")

    def lose(self, reason: str) -> None:
        """The replica is away, until it answers a look."""
        self.there = False
        self._say(logging.WARNING, "the replica of %s is away, so queries read at the primary: %s", reason)

    def _say(self, level: int, text: str, reason: str) -> None:
        if self.said != text:
            self.said = text
            logger.log(level, text, self.service, reason)

    @contextmanager
    def using(self, connection: Any) -> Iterator[None]:
        """Within the block, the connection may be cut."""
        with self.lock:
            self.used.add(connection)
        try:
            yield
        finally:
            with self.lock:
                self.used.discard(connection)

    def _cut(self) -> None:
        """End what waits for the replica. Only the thread that uses a connection may close it, so the socket is cut."""
        with self.lock:
            for connection in self.used:
                with suppress(Exception):  # it is not open
                    _shut(connection.connection.fileno())

    def failed(self, connection: Any, error: BaseException | None) -> None:
        """A query failed, by an error of the replica or (None) by another one; its connection is not used again.

        If the connection is gone, so is the replica, until it answers a look.
        """
        broken = connection.connection is None or connection.connection.closed
        with self.lock:  # so that nobody cuts a socket whose number is given to another
            connection.close()
        if error is None:
            return
        reason = without_values(error)
        if broken:
            self.lose(reason)
        elif time.monotonic() - self.complained > SAY_AGAIN:
            self.complained = time.monotonic()
            logger.warning("the replica of %s cannot answer a query, so the primary does: %s", self.service, reason)


def _shut(number: int) -> None:
    with socket.socket(fileno=os.dup(number)) as wire:
        wire.shutdown(socket.SHUT_RDWR)


_known: dict[str, Replica] = {}
_lock = threading.Lock()


def asked(service: str, query: Callable[[], T]) -> T:
    """What a query of a service answers: at its replica, if it has one that answers, else at the primary.

    The query is asked again at the primary if it fails at the replica, or raises `ReplicaFailed` there.
    """
    if service not in settings.REPLICAS or at_replica(service) or not _replica(service).there:
        return query()
    with suppress(ReplicaFailed), _reading(_replica(service)):
        return query()
    return query()


def at_replica(service: str) -> bool:
    """Do this thread's queries to the service's database go to its replica at the moment?"""
    return service in settings.REPLICAS and connections[service] is replicas[service]


def at_fault(service: str, error: Exception) -> bool:
    """Has the replica failed, at which this thread reads? Then a query must let the error through to `asked`."""
    timed_out = getattr(error.__cause__, "sqlstate", None) == TIMED_OUT
    return isinstance(error, Error) and at_replica(service) and replicas[service].errors_occurred and not timed_out


@contextmanager
def switched_to_replica(service: str) -> Iterator[Any]:
    """Within the block, this thread's queries to the database of a service go to its replica, whatever its state."""
    primary, connections[service] = connections[service], replicas[service]
    try:
        yield replicas[service]
    finally:
        connections[service] = primary


@contextmanager
def _reading(replica: Replica) -> Iterator[None]:
    """Raises `ReplicaFailed` if the block raises it, or an error of the replica."""
    service, connection = replica.service, replicas[replica.service]
    close_if_dead(connection)  # as that of a thread that has not read here since the replica was restarted
    connection.close_if_unusable_or_obsolete()
    with replica.using(connection), switched_to_replica(service):
        try:
            yield
        except ReplicaFailed as error:
            replica.failed(connection, error.__cause__)
            raise
        except Error as error:
            its_own = at_fault(service, error)
            replica.failed(connection, error if its_own else None)
            if not its_own:
                raise
            raise ReplicaFailed from error


def _replica(service: str) -> Replica:
    """What is known of it. The first query of the process begins the looking, and reads at the primary."""
    with _lock:
        return _known.get(service) or _known.setdefault(service, Replica(service))
