"""A restore that has begun and not ended: what it needs to be run again, and who must not work meanwhile.

The file of it is in DATA_DIR from the first change to the last repair.
"""

import fcntl
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
from django.conf import settings

from apps.eventlog.backup.manifest import private, sync

NAME = "restore.unfinished"


class Busy(Exception):
    """Another process restores here."""


class Unfinished(msgspec.Struct, forbid_unknown_fields=True):
    """`digest` is that of the backup's manifest. `aliases` are the databases that it may replace.

    `erasures` are lines of an export: events of the replaced log that erased somebody after the backup was taken.
    """

    folder: str
    digest: str
    aliases: list[str]
    erasures: list[str] = []


def file() -> Path:
    return Path(settings.DATA_DIR) / NAME


def read() -> Unfinished | None:
    """The restore that has not ended; None if there is none."""
    try:
        return msgspec.json.decode(file().read_bytes(), type=Unfinished)
    except FileNotFoundError:
        return None


def begin(unfinished: Unfinished) -> None:
    """Record a restore before it changes anything."""
    part = file().with_suffix(".part")
    with private(part) as out:
        out.write(msgspec.json.encode(unfinished))
    part.rename(file())
    sync(file().parent)


def end() -> None:
    """Everything is restored and repaired."""
    file().unlink(missing_ok=True)


@contextmanager
def alone() -> Iterator[None]:
    """Keep other restores away while the block runs. Raises `Busy`."""
    Path(settings.DATA_DIR).mkdir(parents=True, exist_ok=True)
    with os.fdopen(os.open(file().with_suffix(".lock"), os.O_CREAT | os.O_WRONLY, 0o600), "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Busy("another process is restoring these databases") from None
        yield


def refuse_to_serve() -> None:
    """Exit with a message while a restore has not ended: the databases may be of two states."""
    if (unfinished := read()) is not None:
        sys.exit(
            f"Headrace does not start: the restore of {unfinished.folder} has not ended. "
            f"Run `manage.py restore {unfinished.folder}` again"
        )
