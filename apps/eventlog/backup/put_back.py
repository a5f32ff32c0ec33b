"""Put a backup back, in the place of whatever is there.

From top to bottom: everything that could be wrong is asked first; what is about to happen is recorded; the databases
are replaced one by one; then `repair` brings them together. If this is killed, it is run again, and begins again.
"""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from django.db import Error, connections
from django.db.migrations.loader import MigrationLoader

from apps.eventlog.backup import moment, unfinished
from apps.eventlog.backup.database_copy import CannotCopy, DatabaseCopy, Progress
from apps.eventlog.backup.erased_since import erased_since
from apps.eventlog.backup.manifest import DatabaseFile, Manifest
from apps.eventlog.backup.unfinished import Unfinished
from apps.eventlog.database import statements
from apps.eventlog.encryption import data_keys
from apps.eventlog.failpoints import failpoint

Say = Callable[[str], None]

# A database without more rows is empty. SQLite keeps statistics in tables of its own.
BOOKKEEPING = {"django_migrations", "django_content_type", "auth_permission", "sqlite_stat1", "sqlite_stat4"}
DUMPS_FIT = 1  # versions of PostgreSQL


def put_back(
    folder: Path, manifest: Manifest, aliases: Sequence[str], progress: Progress, say: Say, *, replace: bool
) -> Unfinished:
    """Replace databases by those of a backup; returns the record of it, for the repairs.

    `aliases` are the databases to replace. What is not empty is replaced only if `replace` is true, or if an earlier
    restore of this backup did not end. Call it while `unfinished.alone` holds. Raises `CannotCopy`; then nothing was
    changed, or `say` has told what.
    """
    files = [each for each in manifest.databases if each.alias in aliases]
    copies = moment.copies_of(each.alias for each in files)
    record = unfinished.read()
    again = record is not None and record.digest == manifest.digest
    _require_fit(manifest, files, copies)
    if record is not None and not again and not replace:
        raise CannotCopy(f"the restore of {record.folder} has not ended: run that again, or add --replace")
    _require_free(copies, replace=replace, allowed=record.aliases if record and again else [])
    if record is None or not again:
        erasures = [*_erased_since(manifest, say), *(record.erasures if record else [])]
        record = Unfinished(str(folder), manifest.digest, list(copies), erasures)
        unfinished.begin(record)
    elif not set(copies) <= set(record.aliases):
        record.aliases = sorted({*record.aliases, *copies})
        unfinished.begin(record)
    connections.close_all()
    for each in files:
        note = copies[each.alias].replace(folder / each.file, each.roles, progress)
        say(f"{each.alias} is restored")
        if note:
            say(note)
        failpoint("restored")
    return record


def _erased_since(manifest: Manifest, say: Say) -> list[str]:
    """What the log that is here says, if it can be read."""
    try:
        if holds_rows(moment.LOG):
            return erased_since(manifest.place)
        why = "the log here is empty"
    except Error as error:
        why = str(error).splitlines()[0]
    taken = f"{manifest.taken_at:%Y-%m-%d %H:%M:%S} UTC"
    say(f"nobody can tell who was erased after {taken} ({why}): erase again whom you know of")
    return []


def _require_fit(manifest: Manifest, files: Iterable[DatabaseFile], copies: dict[str, DatabaseCopy]) -> None:
    """Can this deployment take that backup? Raises `CannotCopy`."""
    for each in files:
        copy = copies[each.alias]
        if each.engine != copy.engine:
            raise CannotCopy(
                f"{each.alias} was on {each.engine} and is on {copy.engine} here: a log moves to another engine by "
                "export_events and import_events"
            )
        if copy.engine == "postgresql":
            _require_no_older(each, copy)
    known = set(MigrationLoader(None, ignore_no_migrations=True).disk_migrations or ())
    if newer := {tuple(each) for each in manifest.migrations} - known:
        raise CannotCopy(
            f"the backup was made by newer code, with the migration {'.'.join(min(newer))}: deploy that first"
        )
    if moment.KEYS in copies and (foreign := set(manifest.wrapped_by) - data_keys.names()):
        raise CannotCopy(
            f"its data keys are wrapped by key-encryption key {', '.join(sorted(foreign))}, which this process does "
            "not have: set KEY_ENCRYPTION_KEY to it (or SECRET_KEY, from which it is derived)"
        )


def _require_no_older(listed: DatabaseFile, copy: DatabaseCopy) -> None:
    there, here = (int(version.split(".")[0].split()[0]) for version in (listed.version, copy.version()))
    copy.release()
    if here < there:
        raise CannotCopy(f"{listed.alias} was on PostgreSQL {there}, and this server is version {here}")


def _require_free(copies: dict[str, DatabaseCopy], *, replace: bool, allowed: Sequence[str]) -> None:
    """Raise `CannotCopy` unless all of these databases may be replaced, and can be."""
    if not replace:
        full = [alias for alias in copies if alias not in allowed and holds_rows(alias)]
        if full:
            raise CannotCopy(
                f"{', '.join(full)} hold data, which a restore would destroy, so nothing was done: "
                "to replace them on purpose, add --replace"
            )
    connections.close_all()
    if obstacles := [found for copy in copies.values() if (found := copy.obstacle())]:
        raise CannotCopy("; ".join(obstacles))


def holds_rows(alias: str) -> bool:
    """Is there anything in a database but what `migrate` puts into an empty one?"""
    connection = connections[alias]
    if connection.vendor == "sqlite" and not Path(connection.settings_dict["NAME"]).exists():
        return False
    tables = set(connection.introspection.table_names()) - BOOKKEEPING
    return any(
        statements.rows(alias, f"SELECT 1 FROM {connection.ops.quote_name(table)} LIMIT 1")  # noqa: S608
        for table in tables
    )
