"""Where databases as of a past instant are built."""

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from django.core.management.base import CommandError
from django.db import connections

from apps.eventlog.management import suffixed

SUFFIX = re.compile(r"[a-z][a-z0-9_]{0,30}")


def is_suffix(into: str) -> bool:
    """A plain name in lower case that no file or directory has; everything else is a directory, as in `./then`."""
    return SUFFIX.fullmatch(into) is not None and not Path(into).exists()


def place(into: str) -> AbstractContextManager[dict[str, str]]:
    """The environment in which `manage.py` uses the databases being built, until they are whole."""
    return suffixed.beside(into) if is_suffix(into) else directory(Path(into))


@contextmanager
def directory(path: Path) -> Iterator[dict[str, str]]:
    """SQLite files in a directory, which are whole when it appears."""
    if path.exists() and any(path.iterdir()):
        raise CommandError(f"{path} is not empty; name a directory that is new")
    part = path.with_name(f"{path.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    no_urls = {f"{alias.upper()}_DATABASE_URL": "" for alias in connections}
    yield os.environ | no_urls | {"DATA_DIR": str(part), "DATABASE_SUFFIX": ""}
    if path.exists():
        path.rmdir()
    part.rename(path)
