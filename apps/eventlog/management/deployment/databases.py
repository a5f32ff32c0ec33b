"""What a database lacks: whether it answers, its migrations, and settings of its server under which commits last."""

from collections.abc import Iterator
from pathlib import Path
from stat import S_IMODE

from django.conf import settings
from django.db import DEFAULT_DB_ALIAS, DatabaseError, connections, router
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations.executor import MigrationExecutor

from apps.eventlog.errors.texts import without_values
from apps.eventlog.log import rights
from apps.eventlog.server import probes

# Those that can be written to; replicas have the roles and the migrations of their primary.
ALIASES = [alias for alias in (DEFAULT_DB_ALIAS, *settings.OWN_DATABASES) if alias in settings.DATABASES]
OLDEST = 15  # version of PostgreSQL
# What each setting of the server must be, or else commits that were acknowledged can be lost or torn.
LASTING = {"fsync": "on", "full_page_writes": "on"}


def lacks(alias: str) -> Iterator[str]:
    """Why a database cannot be used as it is."""
    connection = connections[alias]
    if connection.vendor == "sqlite" and not Path(connection.settings_dict["NAME"]).exists():
        yield f"migrations: {alias} is not there yet: run manage.py migrate"  # to look would make the file
        return
    try:
        connection.ensure_connection()
    except DatabaseError as error:
        variable = f"{alias.upper()}_DATABASE_URL"
        yield f"databases: {alias} does not answer ({without_values(error)}): start it, or mend {variable}"
        return
    if probes.REASONS[probes.READ_ONLY](connection):
        yield f"databases: {alias} takes no writes: name the primary in {alias.upper()}_DATABASE_URL"
    yield from _of_migrations(connection)


def _of_migrations(connection: BaseDatabaseWrapper) -> Iterator[str]:
    executor = MigrationExecutor(connection)
    plan = executor.migration_plan(executor.loader.graph.leaf_nodes())
    missing = [f"{step.app_label}.{step.name}" for step, _ in plan]
    if missing:
        own = [name for name in missing if router.allow_migrate(connection.alias, name.partition(".")[0])] or missing
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        yield f"migrations: {connection.alias} lacks {own[0]}{more}: run manage.py migrate"
    elif gone := set(rights.tables(connection.alias)) - set(connection.introspection.table_names()):
        variable = f"{connection.alias.upper()}_DATABASE_URL"
        yield f"databases: {connection.alias} has no table {min(gone)}: {variable} may be another one's"


def dangers(alias: str) -> Iterator[str]:
    """How a database that can be used could lose or show what it holds."""
    connection = connections[alias]
    if connection.vendor == "sqlite":
        file = Path(connection.settings_dict["NAME"])
        if S_IMODE(file.stat().st_mode) & 0o077:
            yield f"databases: others may read {file}: run manage.py migrate, which closes it"
        return
    with connection.cursor() as cursor:
        cursor.execute("SHOW server_version_num")
        version = int(cursor.fetchone()[0]) // 10_000
        if version < OLDEST:
            yield f"server: {connection.alias} is on PostgreSQL {version}: it takes {OLDEST} or later"
        for name, wanted in LASTING.items() | _of_commits(connection.alias):
            cursor.execute(f"SHOW {name}")
            if cursor.fetchone() != (wanted,):
                yield f"server: {name} is not {wanted} at {connection.alias}, so commits may be lost: set it there"


def _of_commits(alias: str) -> set[tuple[str, str]]:
    """A read database may lose its last commits, because they are in the log."""
    return set() if alias in settings.SERVICES else {("synchronous_commit", "on")}
