"""Django's PostgreSQL backend behind a pooler that lends a session for one transaction (`?pool=transaction`).

What is set for a session would stay in it when others get it next. So nothing is: limits that hold for everybody are
settings of the role (`print_roles --pool`), and a process that may take long lifts them in each transaction.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.conf import settings
from django.db.backends.postgresql import base
from psycopg import Connection
from psycopg import Cursor as PlainCursor
from psycopg.pq import TransactionStatus

from apps.eventlog.database.transaction_timeout import KNOWN_SINCE

ALONE = re.compile(r"\s*(CREATE DATABASE|DROP DATABASE|VACUUM)\b", re.IGNORECASE)  # not in a transaction


class LiftingCursor(base.ServerBindingCursor, PlainCursor[Any]):
    """Lifts the limits of the role at the beginning of each transaction; a statement by itself becomes one."""

    def execute(self, query: Any, params: Any = None, **more: Any) -> Any:
        if isinstance(query, str) and ALONE.match(query):
            return super().execute(query, params, **more)
        with _lifted(self.connection):
            return super().execute(query, params, **more)

    def executemany(self, query: Any, params_seq: Any, **more: Any) -> Any:
        with _lifted(self.connection):
            return super().executemany(query, params_seq, **more)

    @contextmanager
    def copy(self, statement: Any, params: Any = None, **more: Any) -> Iterator[Any]:
        with _lifted(self.connection), super().copy(statement, params, **more) as copy:
            yield copy


@contextmanager
def _lifted(connection: "Connection[Any]") -> Iterator[None]:
    if connection.info.transaction_status != TransactionStatus.IDLE:
        yield
    elif connection.autocommit:
        with connection.transaction():
            _lift(connection)
            yield
    else:
        _lift(connection)
        yield


def _lift(connection: "Connection[Any]") -> None:
    limits = ["statement_timeout", "lock_timeout"]
    if settings.TAKES_LONG and connection.info.server_version >= KNOWN_SINCE:
        limits.append("transaction_timeout")
    lift = ", ".join(f"set_config('{limit}', '0', true)" for limit in limits)
    PlainCursor(connection).execute(f"SELECT {lift}".encode())


class DatabaseWrapper(base.DatabaseWrapper):
    def get_connection_params(self) -> dict[str, Any]:
        parameters = super().get_connection_params()
        return parameters if settings.SERVES else {**parameters, "cursor_factory": LiftingCursor}
