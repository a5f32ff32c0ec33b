"""Take a backup of every database while the application goes on."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from django.conf import settings
from django.db import connections
from django.utils import timezone

from apps.eventlog.backup import manifest, moment
from apps.eventlog.backup.database_copy import CannotCopy, DatabaseCopy, Progress
from apps.eventlog.backup.manifest import DatabaseFile, Manifest
from apps.eventlog.database import statements
from apps.eventlog.encryption import data_keys
from apps.eventlog.events import Place
from apps.eventlog.failpoints import failpoint
from apps.eventlog.log import queries

END = 2**62  # beyond every position
MIGRATIONS = "SELECT app, name FROM django_migrations ORDER BY app, name"


class Steps(NamedTuple):
    """Reports to the person who waits: bytes as they are written, and each database when it is done."""

    progress: Progress = lambda count: None
    done: Callable[[str, int], None] = lambda alias, size: None


QUIET = Steps()


def backup(folder: Path, steps: Steps = QUIET) -> Manifest:
    """Copy all databases to a folder, as of one instant; nobody waits for that.

    The folder is new, or empty, or has what an interrupted backup left. Its files can be read by their owner only. If
    this is interrupted, the folder has no manifest, and `restore` refuses it. Raises `CannotCopy`, and OSError.
    """
    began = timezone.now()
    copies = moment.copies_of(connections)
    with _new_folder(folder), ExitStack() as stack:
        for copy in copies.values():
            stack.callback(copy.release)
        moment.freeze(copies)
        taken = timezone.now()
        files = [_write(folder, alias, copy, steps) for alias, copy in copies.items()]
        written = _manifest(copies, files, began, taken)
        manifest.sync(folder)
        manifest.write(folder, written)
    return written


@contextmanager
def _new_folder(folder: Path) -> Iterator[None]:
    """A folder for the files of a backup, from which they are removed if the block raises. Raises `CannotCopy`."""
    if (folder / manifest.NAME).exists():
        raise CannotCopy(f"{folder} holds a backup already: name a new folder")
    there = folder.exists()
    if there and {path.name for path in folder.iterdir()} - set(_names()):
        raise CannotCopy(f"{folder} is not empty: name a new folder")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        yield
    except BaseException:
        for name in _names():
            (folder / name).unlink(missing_ok=True)
        if not there:
            folder.rmdir()
        raise


def _names() -> list[str]:
    """The names of all files that a backup writes before its manifest."""
    suffixes = ("sqlite3", "sqlite3-journal", "pgdump")
    return [f"{alias}.{suffix}" for alias in connections for suffix in suffixes] + [f"{manifest.NAME}.part"]


def _write(folder: Path, alias: str, copy: DatabaseCopy, steps: Steps) -> DatabaseFile:
    file = folder / f"{alias}.{copy.suffix}"
    roles, version = copy.roles(), copy.version()
    copy.write(file, steps.progress)
    size = file.stat().st_size
    steps.done(alias, size)
    failpoint("copied")
    return DatabaseFile(alias, copy.engine, version, file.name, size, manifest.digest_of(file), roles)


def _manifest(copies: dict[str, DatabaseCopy], files: list[DatabaseFile], began: datetime, taken: datetime) -> Manifest:
    log, keys = copies[moment.LOG], copies[moment.KEYS]
    first, last = (_place(log, query) for query in (queries.first(), queries.last_between(0, END)))
    return Manifest(
        format=manifest.FORMAT,
        began_at=began,
        taken_at=taken,
        completed_at=timezone.now(),
        headrace=str(settings.SPECTACULAR_SETTINGS["VERSION"]),
        identity=first.event_id,
        position=last.position,
        event_id=last.event_id,
        databases=files,
        wrapped_by=sorted(name for (name,) in keys.rows(data_keys.WRAPPED_BY)),
        migrations=log.rows(MIGRATIONS),
    ).sealed()


def _place(log: DatabaseCopy, query: statements.Query) -> Place:
    found = log.rows(*query)
    return Place.read(*found[0]) if found else Place()
