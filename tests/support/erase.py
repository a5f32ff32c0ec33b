"""`erase(alias)` empties a database, the append-only log included; `lifted` is how.

It runs between tests by itself. A test calls it to have several histories, one after another.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from django.apps import apps
from django.conf import settings
from django.db import DEFAULT_DB_ALIAS, connections, router, transaction
from django.test import TransactionTestCase

from apps.eventlog.encryption import data_keys

KEPT = {"django_migrations", "django_content_type", "auth_permission"}


def empty_by_erasing() -> None:
    """Let Django empty databases between tests by `erase`; it would do it by `flush`, which is refused."""
    case: Any = TransactionTestCase
    case._fixture_teardown = _erase_all


def _erase_all(case: TransactionTestCase) -> None:
    for alias in case.databases:
        erase(alias)


def in_files(databases: dict[str, Any], directory: Path) -> None:
    """SQLite test databases in files: threads and processes share them as in production."""
    for alias, database in databases.items():
        if "sqlite" in database["ENGINE"]:
            database.setdefault("TEST", {})["NAME"] = directory / f"test_{alias}.sqlite3"


def erase(alias: str) -> None:
    """Delete every row but the migrations' and the content types', and start the log at position 1 again."""
    connection = connections[alias]
    tables = [
        model._meta.db_table
        for model in apps.get_models(include_auto_created=True)
        if router.db_for_write(model) == alias and model._meta.db_table not in KEPT
    ]
    data_keys._recent.clear()
    if alias == DEFAULT_DB_ALIAS:
        tables.append(str(settings.CACHES["default"]["LOCATION"]))  # which has no model
    with connection.cursor() as cursor:
        with lifted(cursor):
            for table in tables:
                cursor.execute(f"DELETE FROM {table}")
        if connection.vendor == "postgresql" and "eventlog_event" in tables:
            cursor.execute("SELECT setval('eventlog_event_position_seq', 0)")


def forget_erasures() -> None:
    """Empty the ledger of erasures, as somebody could who owns the database."""
    with connections["eventlog"].cursor() as cursor, lifted(cursor):
        cursor.execute("DELETE FROM eventlog_erasure")


@contextmanager
def lifted(cursor: Any) -> Iterator[None]:
    """No triggers and no foreign keys, as somebody could arrange who owns the database."""
    if cursor.db.vendor == "postgresql":
        with transaction.atomic(using=cursor.db.alias):
            cursor.execute("SET LOCAL session_replication_role = replica")
            yield
        return
    triggers = cursor.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'").fetchall()
    for name, _ in triggers:
        cursor.execute(f"DROP TRIGGER {name}")
    cursor.execute("PRAGMA foreign_keys = OFF")
    yield
    cursor.execute("PRAGMA foreign_keys = ON")
    for _, sql in triggers:
        cursor.execute(sql)
