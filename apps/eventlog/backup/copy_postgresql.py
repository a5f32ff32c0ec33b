"""Copies of PostgreSQL databases that others write to, by pg_dump from an exported snapshot, and by pg_restore."""

import os
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import psycopg
from django.db.backends.base.base import BaseDatabaseWrapper
from psycopg.conninfo import make_conninfo
from psycopg.pq import Conninfo

from apps.eventlog.backup import programs
from apps.eventlog.backup.database_copy import CannotCopy, Progress
from apps.eventlog.backup.manifest import CHUNK, private
from apps.eventlog.backup.past_the_pooler import past_the_pooler
from apps.eventlog.database.transaction_timeout import KNOWN_SINCE, is_pooled

DUMP = ("--format=custom", "--no-comments", "--no-publications", "--no-subscriptions", "--no-security-labels")
RESTORE = ("--no-owner", "--no-tablespaces", "--single-transaction", "--exit-on-error")
ENDING = 2.0  # seconds that a session may take to end after its client has left
ATTEMPTS = 10
TABLES = (
    "SELECT oid::regclass::text FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')"
)
# The names of the roles that have rights, without the owners and PUBLIC.
ROLES = """
SELECT DISTINCT grantee::regrole::text FROM (
  SELECT relowner AS owner, relacl AS acl FROM pg_class WHERE relnamespace = 'public'::regnamespace
  UNION ALL SELECT proowner, proacl FROM pg_proc WHERE pronamespace = 'public'::regnamespace
  UNION ALL SELECT nspowner, nspacl FROM pg_namespace WHERE nspname = 'public'
  UNION ALL SELECT defaclrole, defaclacl FROM pg_default_acl) rights, aclexplode(acl) WHERE grantee NOT IN (0, owner)
"""
OTHERS = """
SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND usesysid IS NOT NULL
"""
MAY_REPLACE = """
SELECT has_schema_privilege('public', 'CREATE') AND coalesce(bool_and(pg_has_role(owner, 'USAGE')), true)
FROM (SELECT relowner AS owner FROM pg_class WHERE relnamespace = 'public'::regnamespace
      UNION SELECT proowner FROM pg_proc WHERE pronamespace = 'public'::regnamespace) owned
"""
# What is in the schema, but not what an extension has put there.
DROP = """
SELECT format('DROP %s IF EXISTS %s CASCADE', kind, name) FROM (
  SELECT oid, oid::regclass::text AS name, CASE relkind WHEN 'v' THEN 'VIEW' WHEN 'm' THEN 'MATERIALIZED VIEW'
         WHEN 'S' THEN 'SEQUENCE' WHEN 'f' THEN 'FOREIGN TABLE' ELSE 'TABLE' END AS kind
  FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v', 'm', 'S', 'f')
  UNION ALL SELECT oid, oid::regprocedure::text, 'ROUTINE' FROM pg_proc WHERE pronamespace = 'public'::regnamespace
) made WHERE NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = made.oid AND d.deptype = 'e')
ORDER BY kind <> 'TABLE'  -- a sequence goes with its table, and not before
"""


class PostgreSQLCopy:
    """See `DatabaseCopy`. The session that exported the snapshot stays open until pg_dump has read everything."""

    engine, suffix = "postgresql", "pgdump"

    def __init__(self, connection: BaseDatabaseWrapper) -> None:
        self.connection, self.pooled = connection.copy(), is_pooled(connection)
        self.name = str(connection.settings_dict["NAME"])
        self.snapshot = ""

    def freeze(self) -> None:
        """With a lock that lets others read and write, but keeps a rebuild from replacing a table under pg_dump."""
        for attempt in range(ATTEMPTS):
            try:
                self._freeze()
                return
            except psycopg.errors.UndefinedTable as error:  # a rebuild has just dropped a shadow table
                if attempt == ATTEMPTS - 1:
                    raise CannotCopy(f"{self.name} cannot be copied: {_line(str(error))}") from error
            except psycopg.Error as error:
                raise CannotCopy(f"{self.name} cannot be copied: {_line(str(error))}") from error

    def _freeze(self) -> None:
        session = self._session()
        session.execute("ROLLBACK")
        tables = ", ".join(name for (name,) in session.execute(TABLES).fetchall())
        session.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        if tables:
            session.execute(f"LOCK TABLE {tables} IN ACCESS SHARE MODE")
        self.snapshot = str(_first(session.execute("SELECT pg_export_snapshot()")))

    def rows(self, statement: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        return self._session().execute(statement.encode(), parameters).fetchall()

    def write(self, file: Path, progress: Progress) -> None:
        command = [self._program("pg_dump"), *DUMP, f"--snapshot={self.snapshot}", f"--dbname={self._conninfo()}"]
        with private(file) as out, self._started(command, stdout=subprocess.PIPE) as (process, said):
            assert process.stdout is not None  # noqa: S101
            _pass_on(process.stdout, out, progress)
            os.fsync(out.fileno())
            self._require_success(process, said, "copied")

    def release(self) -> None:
        self.connection.close()
        self.snapshot = ""

    def version(self) -> str:
        return str(self._session().info.parameter_status("server_version"))

    def roles(self) -> list[str]:
        return sorted(name for (name,) in self.rows(ROLES))

    def obstacle(self) -> str:
        if self.pooled:  # its sessions would count as users of the database
            return f"{self.name}: stop the pooler too, and run this with URLs that lead to PostgreSQL itself"
        try:
            others = self._others()
            if not _first(self._session().execute(MAY_REPLACE)):
                return f"{self.name}: only the owner of everything in it can replace it, as for migrate"
            self._program("pg_restore")
        except (psycopg.Error, CannotCopy) as error:
            return f"{self.name}: {_line(str(error))}"
        finally:
            self.release()
        return f"{self.name} is in use by {others} other sessions: stop all servers and workers" if others else ""

    def _others(self) -> int:
        """How many other sessions there are, once those that are ending have ended."""
        deadline = time.monotonic() + ENDING
        while (others := _first(self._session().execute(OTHERS))) and time.monotonic() < deadline:
            time.sleep(0.05)
        return int(others)

    def replace(self, file: Path, roles: Sequence[str], progress: Progress) -> str:
        """First everything goes, then everything comes, each in one transaction.

        Rights are restored if all roles that had some are on this server. Otherwise those of PUBLIC go, and
        `print_roles` gives the others.
        """
        try:
            session = self._session()
            known = {name for (name,) in session.execute("SELECT oid::regrole::text FROM pg_roles").fetchall()}
            self._empty(session)
            rights = set(roles) <= known and self._restored_with_rights(file, progress)
            if not rights:
                self._restore(file, ["--no-privileges"], progress)
                session.execute("REVOKE ALL ON ALL ROUTINES IN SCHEMA public FROM PUBLIC")
            session.execute("ANALYZE")
        except psycopg.Error as error:
            raise CannotCopy(f"{self.name} cannot be replaced: {_line(str(error))}") from error
        finally:
            self.release()
        return (
            "" if rights or not roles else f"the rights of {', '.join(roles)} in {self.name} are gone: run print_roles"
        )

    def _restored_with_rights(self, file: Path, progress: Progress) -> bool:
        """False if that does not work, as when this role may not give some right. Then the database is empty."""
        try:
            self._restore(file, [], progress)
        except CannotCopy:
            return False
        return True

    def _empty(self, session: "psycopg.Connection[Any]") -> None:
        with session.transaction():
            session.execute("SET LOCAL search_path = ''")  # so that names come with their schema
            for (statement,) in session.execute(DROP).fetchall():
                session.execute(statement.encode())

    def _restore(self, file: Path, options: list[str], progress: Progress) -> None:
        """From a pipe: if this process dies, pg_restore meets the end of the file and undoes what it did."""
        command = [self._program("pg_restore"), *RESTORE, *options, f"--dbname={self._conninfo()}"]
        with file.open("rb") as copy, self._started(command, stdin=subprocess.PIPE) as (process, said):
            assert process.stdin is not None  # noqa: S101
            try:
                _pass_on(copy, process.stdin, progress)
                process.stdin.close()
            except BrokenPipeError:
                pass  # it has ended, and says why
            self._require_success(process, said, "replaced")

    def _session(self) -> "psycopg.Connection[Any]":
        """A session of its own without limits of time."""
        session: Any = self.connection.connection
        if session is None:
            if is_pooled(self.connection):
                self.connection = _past(self.connection)
            self.connection.connect()
            session = self.connection.connection
            session.execute("SET idle_in_transaction_session_timeout = 0")
            session.execute("SET statement_timeout = 0")
            session.execute("SET lock_timeout = '10s'")
            if session.info.server_version >= KNOWN_SINCE:
                session.execute("SET transaction_timeout = 0")
        return session

    def _program(self, name: str) -> str:
        return str(programs.find(name, self._session().info.server_version // 10000))

    def _conninfo(self) -> str:
        """How PostgreSQL's programs reach the very server that this session is at; without the password."""
        info = self._session().info
        known = {option.keyword.decode() for option in Conninfo.get_defaults()} - {"password"}
        given = {name: value for name, value in self.connection.get_connection_params().items() if name in known}
        return make_conninfo(**given | {"host": info.host, "port": info.port, "dbname": info.dbname})

    @contextmanager
    def _started(self, command: list[str], **pipes: int) -> "Iterator[tuple[subprocess.Popen[bytes], IO[bytes]]]":
        """A program of PostgreSQL, and the file of what it says. It is killed if the block raises."""
        password = self._session().info.password
        environment = os.environ | ({"PGPASSWORD": password} if password else {})
        with (
            tempfile.TemporaryFile() as said,
            subprocess.Popen(command, stderr=said, env=environment, bufsize=0, **pipes) as process,  # type: ignore[call-overload]
        ):
            try:
                yield process, said
            except BaseException:
                process.kill()
                raise

    def _require_success(self, process: "subprocess.Popen[bytes]", said: IO[bytes], done: str) -> None:
        if process.wait():
            said.seek(0)
            why = said.read().decode(errors="replace").strip() or f"exit status {process.returncode}"
            raise CannotCopy(f"{self.name} cannot be {done}: {_line(why)}")


def _past(pooled: BaseDatabaseWrapper) -> BaseDatabaseWrapper:
    try:
        return past_the_pooler(pooled)
    finally:
        pooled.close()


def _pass_on(source: IO[bytes], target: IO[bytes], progress: Progress) -> None:
    while chunk := source.read(CHUNK):
        target.write(chunk)
        progress(len(chunk))


def _first(cursor: "psycopg.Cursor[Any]") -> Any:
    row = cursor.fetchone()
    return row[0] if row else None


def _line(text: str) -> str:
    """The first lines of an error, as one."""
    return " ".join(text.split("\n")[:3]).rstrip(".")
