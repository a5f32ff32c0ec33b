"""Group commit: the appends of threads that wait for each other become one transaction, with one sync of the disk.

On SQLite a commit waits for the disk, and nobody else can write meanwhile. What threads of one process want to append
in that time is written together by the first of them that gets its turn. Each append is one statement: if SQLite
refuses it, it leaves no trace and does not touch the others. An append inside an open transaction stays there.

The idea is that of DeWitt et al., Implementation techniques for main memory database systems (SIGMOD 1984).
"""

from collections import deque
from collections.abc import Sequence
from threading import Lock
from typing import Any

from django.db import DatabaseError, OperationalError, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

Rows = list[tuple[Any, ...]]


class Request:
    """One statement that waits, and what came of it."""

    def __init__(self, statement: str, parameters: Sequence[Any]) -> None:
        self.statement, self.parameters = statement, parameters
        self.rows: Rows | None = None
        self.error: Exception | None = None

    @property
    def is_done(self) -> bool:
        return self.rows is not None or self.error is not None

    def run(self, connection: BaseDatabaseWrapper) -> None:
        """Raises only if the error ended the transaction, and with it what others had written there."""
        with connection.cursor() as cursor:
            try:
                self.rows = cursor.execute(self.statement, self.parameters).fetchall()
            except DatabaseError as error:
                if connection.in_atomic_block and not connection.connection.in_transaction:
                    raise
                self.error = error


class GroupCommit:
    """The statements of all threads of this process that write to one database."""

    def __init__(self) -> None:
        self._turn = Lock()
        self._waiting: deque[Request] = deque()

    def execute(self, connection: BaseDatabaseWrapper, statement: str, parameters: Sequence[Any]) -> Rows:
        """The rows that a statement returns, after its commit; in an open transaction, at once."""
        request = Request(statement, parameters)
        if connection.in_atomic_block:
            request.run(connection)
        else:
            self._waiting.append(request)
            with self._turn:
                if not request.is_done:
                    _commit(connection, [self._waiting.popleft() for _ in range(len(self._waiting))])
        if request.error is not None:
            raise request.error
        return request.rows or []


def _commit(connection: BaseDatabaseWrapper, group: list[Request]) -> None:
    """Write a group, all of it with one commit."""
    if len(group) == 1:
        group[0].run(connection)
        return
    try:
        with transaction.atomic(using=connection.alias):
            for request in group:
                request.run(connection)
    except BaseException as error:
        for request in group:
            request.error = _of_its_own(error)
        raise


def _of_its_own(error: BaseException) -> Exception:
    """The error for another thread: not the same object, because each thread that raises one adds to its traceback."""
    return type(error)(*error.args) if isinstance(error, DatabaseError) else OperationalError(f"interrupted: {error!r}")
