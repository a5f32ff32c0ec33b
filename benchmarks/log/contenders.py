"""The contenders of `make bench-log`: one event store behind the same few calls, each in a process of its own.

All write the same event, a deposit of an amount with a note of 100 characters, and the same metadata where the store
has any; all keep their connection open; all sync each commit (PostgreSQL's default, SQLite in WAL with FULL).
"""

import json
import os
import sqlite3
from dataclasses import dataclass
from typing import Any, ClassVar
from urllib.parse import unquote, urlsplit
from uuid import UUID, uuid4

NOTE = "n" * 100
METADATA = {name: str(UUID(int=7)) for name in ("actor", "correlation_id", "causation_id")} | {"command": "Deposit"}


class Headrace:
    """`store.append`; a command by `dispatch`, with projections left to a worker."""

    table = "eventlog_event"

    def __init__(self, url: str) -> None:
        os.environ |= {"DJANGO_SETTINGS_MODULE": "config.settings", "SECRET_KEY": "bench" * 12, "DEBUG": "off"}
        os.environ |= {"EVENTLOG_DATABASE_URL": url, "PROJECTIONS": "worker"}
        import django

        django.setup()
        from apps.eventlog import dispatch, store
        from benchmarks.log import account

        self.store, self.dispatch, self.account = store, dispatch.dispatch, account

    def prepare(self) -> None:
        from django.core.management import call_command

        call_command("migrate", database="eventlog", verbosity=0)

    def append(self, id: UUID, version: int, number: int) -> None:
        events = [self.account.Deposited(n, NOTE) for n in range(number)]
        self.store.append(f"account-{id}", events, expected_version=version, metadata=METADATA)

    def open(self, events: int) -> UUID:
        id = uuid4()
        self.append(id, 0, events)
        return id

    def command(self, id: UUID) -> None:
        self.dispatch(self.account.Deposit(id, 1, NOTE))

    def read_stream(self, id: UUID) -> int:
        return sum(1 for recorded in self.store.read_stream(f"account-{id}") if recorded.event)

    def read_all(self, number: int) -> int:
        return sum(1 for recorded in self.store.read_all(limit=number) if recorded.event)


class Pyeventsourcing:
    """`event_store.put`; a command by `repository.get` and `save`. With its defaults: no cache."""

    table = "application_events"
    options: ClassVar[dict[str, str]] = {}

    def __init__(self, url: str) -> None:
        from eventsourcing.application import Application
        from eventsourcing.domain import datetime_now_with_tzinfo

        from benchmarks.log.pyeventsourcing_account import Account

        self.account, self.now = Account, datetime_now_with_tzinfo
        self.app: Any = Application(env=self.environment(url) | self.options)

    def environment(self, url: str) -> dict[str, str]:
        parts = urlsplit(url)
        if parts.scheme == "sqlite":
            module = {"PERSISTENCE_MODULE": "eventsourcing.sqlite", "SQLITE_LOCK_TIMEOUT": "20"}
            return module | {"SQLITE_DBNAME": parts.path.removeprefix("/")}
        host = unquote(parts.netloc.rpartition("@")[2])
        return {
            "PERSISTENCE_MODULE": "eventsourcing.postgres", "POSTGRES_DBNAME": parts.path[1:], "POSTGRES_HOST": host,
            "POSTGRES_PORT": "5432", "POSTGRES_USER": parts.username or "", "POSTGRES_PASSWORD": "none",
        }  # fmt: skip

    def prepare(self) -> None:
        self.open(2)  # its tables are made when they are needed

    def append(self, id: UUID, version: int, number: int) -> None:
        kind = self.account.Deposited
        self.app.events.put(
            [
                kind(originator_id=id, originator_version=version + n, timestamp=self.now(), amount=n, note=NOTE)
                for n in range(1, number + 1)
            ]
        )

    def open(self, events: int) -> UUID:
        account = self.account()
        self.app.save(account)
        for version in range(1, events, 500):  # its driver hangs over very many statements in one pipeline
            self.append(account.id, version, min(500, events - version))
        return account.id

    def command(self, id: UUID) -> None:
        account = self.app.repository.get(id)
        account.deposit(1, NOTE)
        self.app.save(account)

    def read_all(self, number: int) -> int:
        count = 0
        while count < number:
            page = self.app.recorder.select_notifications(count + 1, min(1000, number - count))
            if not page:
                return count
            for stored in page:
                count += bool(self.app.mapper.to_domain_event(stored))
        return count


class Tuned(Pyeventsourcing):
    """With the options that it has for speed: a cache of aggregates, and a function in PostgreSQL."""

    options: ClassVar[dict[str, str]] = {"AGGREGATE_CACHE_MAXSIZE": "1000", "POSTGRES_ENABLE_DB_FUNCTIONS": "y"}


@dataclass
class Deposited:
    amount: int
    note: str


class Raw:
    """The driver alone: the same row into the same table with the same indexes, but no check and no guard."""

    table = "eventlog_event"
    columns = "event_id, stream, stream_version, category, type, schema_version, data, metadata, correlation_id"
    insert = f"INSERT INTO eventlog_event ({columns}, recorded_at) VALUES "
    select = "SELECT data FROM eventlog_event WHERE stream = {} ORDER BY stream_version"
    page = "SELECT position, data FROM eventlog_event WHERE position > {} ORDER BY position LIMIT 1000"

    def __init__(self, url: str) -> None:
        self.sqlite = url.startswith("sqlite")
        if self.sqlite:
            path = urlsplit(url).path.removeprefix("/")
            self.connection: Any = sqlite3.connect(path, isolation_level=None, timeout=20, check_same_thread=False)
            self.connection.execute("PRAGMA journal_mode=WAL")
            self.mark, now = "?", "strftime('%Y-%m-%d %H:%M:%f', 'now')"
        else:
            import psycopg

            self.connection = psycopg.connect(url, autocommit=True)
            self.mark, now = "%s", "clock_timestamp()"
        self.insert = f"{self.insert} ({', '.join([self.mark] * 9)}, {now})"

    def append(self, id: UUID, version: int, number: int) -> None:
        rows = [self.row(id, version + n, Deposited(n, NOTE)) for n in range(1, number + 1)]
        if number == 1:
            self.connection.execute(self.insert, rows[0])
        elif self.sqlite:
            self.connection.execute("BEGIN IMMEDIATE")
            self.connection.executemany(self.insert, rows)
            self.connection.execute("COMMIT")
        else:
            with self.connection.transaction(), self.connection.cursor() as cursor:
                cursor.executemany(self.insert, rows)

    def row(self, id: UUID, version: int, event: Deposited) -> list[Any]:
        head = [uuid4().hex, f"account-{id}", version, "account", "Deposited", 1]
        return [*head, json.dumps(vars(event)), json.dumps(METADATA), METADATA["correlation_id"]]

    def open(self, events: int) -> UUID:
        id = uuid4()
        self.append(id, 0, events)
        return id

    def command(self, id: UUID) -> None:
        rows = self.connection.execute(self.select.format(self.mark), [f"account-{id}"]).fetchall()
        events = [Deposited(**self.loads(data)) for (data,) in rows]
        if sum(event.amount for event in events) >= 0:
            self.append(id, len(events), 1)

    def read_all(self, number: int) -> int:
        count = after = 0
        while count < number:
            rows = self.connection.execute(self.page.format(self.mark), [after]).fetchall()
            count += sum(1 for _, data in rows if Deposited(**self.loads(data)))
            after = rows[-1][0]
        return count

    def loads(self, data: Any) -> dict[str, Any]:
        return json.loads(data) if self.sqlite else data
