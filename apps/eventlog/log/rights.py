"""What the role of this process lacks on PostgreSQL, and what it has beyond what it needs; see `print_roles`."""

from collections.abc import Collection, Iterator

from django.apps import apps
from django.conf import settings
from django.db import connections, router
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.utils import CursorWrapper

from apps.eventlog.log import roles
from apps.eventlog.models import StoredEvent

AGAIN = "run `manage.py print_roles | psql -X -d postgres` as a superuser"
EVERYTHING = ("SELECT", "INSERT", "UPDATE", "DELETE")
CHANGES = ("INSERT", "UPDATE", "DELETE", "TRUNCATE")
OWNS = "SELECT pg_has_role(current_user, relowner, 'USAGE') FROM pg_class WHERE oid = to_regclass(%s)"
MAY = "SELECT has_table_privilege(current_user, to_regclass(%s), %s)"
CALLS = "SELECT has_function_privilege(current_user, to_regproc(%s), 'EXECUTE') WHERE to_regproc(%s) IS NOT NULL"
OPEN = "SELECT has_database_privilege('public', current_database(), 'CONNECT, TEMPORARY')"
REACHES = "SELECT has_database_privilege(current_user, datname, 'CONNECT') FROM pg_database WHERE datname = %s"
LIMITED = """
SELECT EXISTS (SELECT FROM pg_db_role_setting, unnest(setconfig) AS line
               WHERE setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database())
                 AND line LIKE 'idle_in_transaction_session_timeout=%%' AND line NOT LIKE '%%=0')
"""


def faults(alias: str, aliases: Collection[str]) -> Iterator[str]:
    """The faults at one of the databases with these aliases, each in a line with the way out."""
    connection = connections[alias]
    with connection.cursor() as cursor:
        cursor.execute("SELECT rolname, rolsuper FROM pg_roles WHERE rolname = current_user")
        role, superuser = cursor.fetchone()
        if superuser:
            yield f"roles: {alias} is reached as {role}, a superuser, whom no guard stops: {_take(alias)}"
            return
        if alias == settings.EVENTLOG:
            yield from _at_the_log(cursor, role)
        elif lacks := [table for table in tables(alias) if not _may(cursor, table, EVERYTHING)]:
            yield f"grants: {role} may not read and write {lacks[0]}, {len(lacks)} tables in all: {_take(alias)}"
        yield from _of_others(cursor, connection, role, aliases)


def _take(alias: str) -> str:
    return f"{AGAIN}, and name the role that it makes in {alias.upper()}_DATABASE_URL"


def _at_the_log(cursor: CursorWrapper, role: str) -> Iterator[str]:
    events = StoredEvent._meta.db_table
    cursor.execute(OWNS, [events])
    if cursor.fetchone() == (True,):
        yield f"roles: {settings.EVENTLOG} is reached as its owner {role}, which is for migrate: {_take('eventlog')}"
        return
    if changes := [right for right in CHANGES if _may(cursor, events, (right,))]:
        yield f"grants: {role} has {', '.join(changes)} on {events}, so it could change history: {AGAIN}"
    lacks = [f"read {table}" for table in tables(settings.EVENTLOG) if not _may(cursor, table, ("SELECT",))]
    for model, rights in roles.WRITES.items():
        table = model._meta.db_table
        lacks += [] if _may(cursor, table, rights.split(", ")) else [f"write {table}"]
    for function in roles.CALLS:
        cursor.execute(CALLS, [f"public.{function}"] * 2)
        lacks += [f"call {function}"] if cursor.fetchone() == (False,) else []
    if lacks:
        yield f"grants: {role} may not {lacks[0]}, {len(lacks)} rights in all: {AGAIN}"


def _of_others(
    cursor: CursorWrapper, connection: BaseDatabaseWrapper, role: str, aliases: Collection[str]
) -> Iterator[str]:
    """What anybody may do here, and what this role may do elsewhere."""
    database = connection.settings_dict["NAME"]
    cursor.execute(OPEN)
    if cursor.fetchone() == (True,):
        yield f"grants: every role may connect to {database}: {AGAIN}"
    cursor.execute(LIMITED)
    if cursor.fetchone() == (False,):
        yield f"server: sessions at {database} may stay idle in a transaction for ever: {AGAIN}"
    for other in aliases:
        there = connections[other].settings_dict
        if there["NAME"] != database and _server(there) == _server(connection.settings_dict):
            cursor.execute(REACHES, [there["NAME"]])
            if cursor.fetchone() == (True,):
                yield f"grants: {role} may connect to {there['NAME']}, which is not its own: {AGAIN}"


def _server(database: dict[str, str]) -> tuple[object, object]:
    return database.get("HOST"), database.get("PORT")


def _may(cursor: CursorWrapper, table: str, rights: list[str] | tuple[str, ...]) -> bool:
    """Does the role have all of these rights on a table? A table that is not there is for the migrations to say."""
    for right in rights:
        cursor.execute(MAY, [table, right])
        if cursor.fetchone() == (False,):
            return False
    return True


def tables(alias: str) -> list[str]:
    """The tables that the models of an alias have."""
    kept = [model for model in apps.get_models(include_auto_created=True) if model._meta.managed]
    return sorted({model._meta.db_table for model in kept if router.db_for_write(model) == alias})
