"""Who may do what on PostgreSQL: a role and a database an alias, three roles at the log, as a script for psql.

The log belongs to a role that serves nobody. The application's role reads it and calls the functions that write; the
sealer's role may seal as well. Everything is derived from the settings and the models.
"""

import re
from collections.abc import Iterator

from django.conf import settings
from django.db.models import Model

from apps.eventlog.models import IdempotencyRecord, Job, Relay, Reservation

NAME = 63  # bytes at most in a name
# What the application's role may do in the log beyond reading it.
WRITES: dict[type[Model], str] = {
    IdempotencyRecord: "INSERT, UPDATE, DELETE",
    Job: "INSERT, UPDATE",
    Relay: "INSERT, UPDATE, DELETE",
    Reservation: "INSERT, DELETE",
}
LIMIT = "30s"  # for a transaction: an append that stays open holds back every follower of the log
# What each connection sets for itself, unless a pooler lends it a session for one transaction.
OF_CONNECTIONS = {"statement_timeout": "15s", "lock_timeout": "10s"}
OF_READ_DATABASES = {"synchronous_commit": "off"}
CALLS = (
    "eventlog_append_events",
    "eventlog_append_events_alone",
    "eventlog_erase",
    "eventlog_hold",
    "eventlog_safe_place",
    "eventlog_safe_position",
    "eventlog_append",  # older code calls these two while it is being replaced
    "eventlog_append_alone",
)
SEALS = ("eventlog_seal_next",)

HEADER = """
-- Roles, databases and grants of Headrace on PostgreSQL 15 or later, printed by `manage.py print_roles`.
-- Run it as a superuser, who may be in any database:
--
--   manage.py print_roles | psql -X -d postgres
--
-- 1. Run it before the first `migrate`. It makes what is missing and leaves what is there.
-- 2. No password is in it. Set them in psql: \\password {owner}, and so on.
-- 3. Run `manage.py migrate` with a URL for each alias, as the owner of its database:
{owners}
-- 4. Run it again, now and after each later `migrate`, before the new code serves: rights on tables and functions can
--    be given only when they are there. The application may go on meanwhile, because the rights in a database change in
--    one transaction.
-- 5. Nobody may leave a transaction open for longer than {limit}, whoever it is, because an append that stays open
--    holds back every follower. PostgreSQL 17 and later also ends one at the log that is busy for longer. Somebody who
--    needs more time there says so: SET transaction_timeout = 0. The commands of manage.py that take long do that.
-- 6. The application runs with the same URLs, but EVENTLOG_DATABASE_URL as {application}.
--    Who seals, `seal_events --follow` or run_projectors, has it as {sealer}.

\\set ON_ERROR_STOP on
"""

# {0} is the database, {1} its owner. Only the owner may make anything there, temporary tables included.
ANY_DATABASE = """
REVOKE ALL ON DATABASE {0} FROM PUBLIC;
REVOKE ALL ON SCHEMA public FROM PUBLIC;
GRANT ALL ON DATABASE {0} TO {1};
GRANT ALL ON SCHEMA public TO {1};
"""

LOG = """
REVOKE ALL ON DATABASE {database} FROM {application}, {sealer};
REVOKE ALL ON SCHEMA public FROM {application}, {sealer};
REVOKE ALL ON ALL TABLES IN SCHEMA public FROM PUBLIC, {application}, {sealer};
REVOKE ALL ON ALL SEQUENCES IN SCHEMA public FROM PUBLIC, {application}, {sealer};
REVOKE ALL ON ALL ROUTINES IN SCHEMA public FROM PUBLIC, {application}, {sealer};
GRANT CONNECT ON DATABASE {database} TO {application};
GRANT USAGE ON SCHEMA public TO {application};
GRANT SELECT ON ALL TABLES IN SCHEMA public TO {application};
GRANT SELECT ON ALL SEQUENCES IN SCHEMA public TO {application};
ALTER DEFAULT PRIVILEGES FOR ROLE {owner} REVOKE EXECUTE ON ROUTINES FROM PUBLIC;
ALTER DEFAULT PRIVILEGES FOR ROLE {owner} IN SCHEMA public GRANT SELECT ON TABLES TO {application};
ALTER DEFAULT PRIVILEGES FOR ROLE {owner} IN SCHEMA public GRANT SELECT ON SEQUENCES TO {application};
"""


class Names:
    """The names of roles and databases, each with the same prefix.

    Raises ValueError if the prefix is not a plain name in lower case, or is too long.
    """

    def __init__(self, prefix: str) -> None:
        self.databases = {alias: f"{prefix}_{alias}" for alias in settings.DATABASES}
        self.application = self.databases[settings.EVENTLOG]
        self.owner, self.sealer = f"{self.application}_owner", f"{prefix}_sealer"
        self.owners = self.databases | {settings.EVENTLOG: self.owner}
        self.roles = [self.owner, *self.databases.values(), self.sealer]
        if not re.fullmatch("[a-z][a-z0-9_]*", prefix) or max(map(len, self.roles)) > NAME:
            raise ValueError(f"{prefix!r} is not a short plain name in lower case")


def script(prefix: str, *, pool: bool = False) -> str:
    """The script for psql that makes all roles and databases, and gives each role what it needs and nothing else.

    With `pool`, roles also get the limits that a pooler of transactions does not let a connection set. Raises
    ValueError for a prefix that no name can begin with.
    """
    names = Names(prefix)
    databases = [_database(names, alias) for alias in names.databases]
    limits = _limits(names) if pool else ()
    return "\n".join([_header(names), *_roles(names), *limits, *[line for lines in databases for line in lines]])


def _header(names: Names) -> str:
    owners = [f"--      {alias.upper()}_DATABASE_URL as {owner}" for alias, owner in names.owners.items()]
    given = {"owner": names.owner, "application": names.application, "sealer": names.sealer, "limit": LIMIT}
    return HEADER.format(owners="\n".join(owners), **given).strip()


def _roles(names: Names) -> Iterator[str]:
    for role in names.roles:
        yield _unless("SELECT FROM pg_roles WHERE rolname", role, f"CREATE ROLE {role} LOGIN")
    yield "BEGIN;"
    for role in names.roles:
        yield f"ALTER ROLE {role} SET idle_in_transaction_session_timeout = '{LIMIT}';"
    yield f"GRANT {names.application} TO {names.sealer};"
    yield "COMMIT;"
    for alias, database in names.databases.items():
        create = f"CREATE DATABASE {database} OWNER {names.owners[alias]}"
        yield _unless("SELECT FROM pg_database WHERE datname", database, create)


def _limits(names: Names) -> Iterator[str]:
    """A limit that somebody has set to something else stays."""
    read = {names.databases[service] for service in settings.SERVICES}
    for role in names.roles:
        for setting, value in (OF_CONNECTIONS | (OF_READ_DATABASES if role in read else {})).items():
            given = f"pg_db_role_setting, unnest(setconfig) given WHERE setrole = '{role}'::regrole"
            unset = f"NOT EXISTS (SELECT FROM {given} AND given LIKE '{setting}=%')"
            yield _if(unset, f"ALTER ROLE {role} SET {setting} = ''{value}''")


def _database(names: Names, alias: str) -> Iterator[str]:
    database = names.databases[alias]
    yield f"\n\\connect {database}"
    yield "BEGIN;"
    yield ANY_DATABASE.format(database, names.owners[alias]).strip()
    # For every other role too, and for superusers: whoever opens a session at this database.
    yield f"ALTER DATABASE {database} SET idle_in_transaction_session_timeout = '{LIMIT}';"
    if alias == settings.EVENTLOG:
        given = {"owner": names.owner, "application": names.application, "sealer": names.sealer}
        yield LOG.format(database=database, **given).strip()
        known = "current_setting('server_version_num')::int >= 170000"
        yield _if(known, f"ALTER DATABASE {database} SET transaction_timeout = ''{LIMIT}''")
        yield from _rights(names)
    yield "COMMIT;"


def _rights(names: Names) -> Iterator[str]:
    """What needs a table or a function that may not be there yet."""
    for model, rights in WRITES.items():
        table = f"public.{model._meta.db_table}"
        yield _if(f"to_regclass('{table}') IS NOT NULL", f"GRANT {rights} ON {table} TO {names.application}")
    for role, functions in ((names.application, CALLS), (names.sealer, SEALS)):
        for function in functions:
            there = f"to_regproc('public.{function}') IS NOT NULL"
            yield _if(there, f"GRANT EXECUTE ON FUNCTION public.{function} TO {role}")


def _unless(found: str, name: str, statement: str) -> str:
    return _if(f"NOT EXISTS ({found} = '{name}')", statement)


def _if(condition: str, statement: str) -> str:
    """A statement that psql runs if the condition holds."""
    return f"SELECT '{statement}' WHERE {condition} \\gexec"
