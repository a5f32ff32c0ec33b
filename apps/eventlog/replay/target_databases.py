"""The databases that `replay_events --into` builds: named like the live ones with a suffix, or files in a directory."""

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from django.conf import settings
from django.core.management.base import CommandError
from django.db import OperationalError, ProgrammingError, connections
from django.db.backends.base.base import BaseDatabaseWrapper

LONGEST_NAME = 63  # bytes in the name of a PostgreSQL database
SUFFIX = re.compile(r"[a-z][a-z0-9_]{0,30}")


def is_suffix(into: str) -> bool:
    """A plain name in lower case that no file or directory has is a suffix; anything else (`./then`) is a directory."""
    return SUFFIX.fullmatch(into) is not None and not Path(into).exists()


def target_databases(into: str) -> AbstractContextManager[dict[str, str]]:
    """Prepare empty databases; yields the environment variables with which `manage.py` uses them.

    If the block raises, no database that was made here stays under its final name. Raises `CommandError`.
    """
    return _named_with_suffix(into) if is_suffix(into) else _in_directory(Path(into))


@contextmanager
def _in_directory(path: Path) -> Iterator[dict[str, str]]:
    """SQLite files in a directory. The directory gets its name when the files are complete."""
    if path.exists() and any(path.iterdir()):
        raise CommandError(f"{path} is not empty; name a new directory")
    part = path.with_name(f"{path.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(mode=0o700, parents=True)
    no_urls = {f"{alias.upper()}_{kind}_URL": "" for alias in connections for kind in ("DATABASE", "REPLICA")}
    yield os.environ | no_urls | {"DATA_DIR": str(part), "DATABASE_SUFFIX": ""}
    if path.exists():
        path.rmdir()
    part.rename(path)


@contextmanager
def _named_with_suffix(suffix: str) -> Iterator[dict[str, str]]:
    """Databases named like the live ones with a suffix. Those that this makes are dropped again if the block raises.

    Raises `CommandError` if one exists and is not empty.
    """
    targets = [_target(connection, suffix) for connection in connections.all()]
    made: list[BaseDatabaseWrapper] = []
    try:
        for target in targets:
            if not _exists(target):
                _create(target)
                made.append(target)
            elif target.introspection.table_names():
                raise CommandError(f"{target.settings_dict['NAME']} is not empty; name another suffix, or drop it")
            target.close()
        yield os.environ | {"DATABASE_SUFFIX": "_".join(filter(None, [settings.DATABASE_SUFFIX, suffix]))}
    except BaseException:
        for target in made:
            _drop(target)
        raise


def _target(live: BaseDatabaseWrapper, suffix: str) -> BaseDatabaseWrapper:
    """A connection to the database that config/settings.py uses instead of a live one if DATABASE_SUFFIX is set."""
    target = live.copy()
    file = Path(live.settings_dict["NAME"])
    sqlite = live.vendor == "sqlite"
    target.settings_dict["NAME"] = file.with_stem(f"{file.stem}_{suffix}") if sqlite else f"{file}_{suffix}"
    if not sqlite and len(target.settings_dict["NAME"].encode()) > LONGEST_NAME:
        raise CommandError(f"{target.settings_dict['NAME']} is too long for the name of a database")
    return target


def _exists(target: BaseDatabaseWrapper) -> bool:
    if target.vendor == "sqlite":
        return Path(target.settings_dict["NAME"]).exists()
    with connections[target.alias].cursor() as cursor:
        cursor.execute("SELECT 1 FROM pg_database WHERE datname = %s", [target.settings_dict["NAME"]])
        return cursor.fetchone() is not None


def _create(target: BaseDatabaseWrapper) -> None:
    """Make a database on PostgreSQL. On SQLite the first connection makes the file."""
    name = target.settings_dict["NAME"]
    try:
        if target.vendor != "sqlite":
            _execute_on_live(target, f'CREATE DATABASE "{name}"')
    except (ProgrammingError, OperationalError) as error:
        raise CommandError(
            f"{name} cannot be made ({error}); make it as an empty database, then run this again"
        ) from error


def _drop(target: BaseDatabaseWrapper) -> None:
    name = target.settings_dict["NAME"]
    if target.vendor != "sqlite":
        _execute_on_live(target, f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
        return
    for ending in ("", "-wal", "-shm"):
        Path(f"{name}{ending}").unlink(missing_ok=True)


def _execute_on_live(target: BaseDatabaseWrapper, statement: str) -> None:
    """Execute a statement over the connection to the live database: the target has none, or is about to go."""
    with connections[target.alias].cursor() as cursor:
        cursor.execute(statement)
