"""Databases as of a past instant, in a directory of their own."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import msgspec
from django.conf import settings
from django.core.management.base import CommandError
from django.db import connections

from apps.eventlog import store
from apps.eventlog.projectors import Projector
from apps.eventlog.replay import Progress


def build_then(directory: Path, until: int, kinds: list[type[Projector]], progress: Progress) -> None:
    """Write SQLite databases that hold the log up to a position and the rows as they stood there.

    `make run DATA_DIR=<directory>` opens them. They are whole when the directory appears.
    """
    if directory.exists() and any(directory.iterdir()):
        raise CommandError(f"{directory} is not empty; name a directory that is new")
    part = directory.with_name(f"{directory.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    no_urls = {f"{alias.upper()}_DATABASE_URL": "" for alias in connections}
    environment = os.environ | no_urls | {"DATA_DIR": str(part)}
    _manage(environment, "migrate", "-v0")
    command = _command("import_events", "-", "--rows-later", "--no-progress")
    with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as importer:
        assert importer.stdin is not None  # noqa: S101
        for recorded in store.read_all(until=until):
            importer.stdin.write(msgspec.json.encode(recorded.document()) + b"\n")
            progress(1)
        importer.stdin.close()
        if importer.wait():
            raise CommandError(f"the log could not be written to {part}")
    every = len(kinds) == len(Projector.registry)
    for choice in [()] if every else [("--projector", kind.name) for kind in kinds]:
        _manage(environment, "replay_events", "--no-progress", *choice)
    if directory.exists():
        directory.rmdir()
    part.rename(directory)


def _command(*arguments: str) -> list[str]:
    return [sys.executable, str(settings.BASE_DIR / "manage.py"), *arguments]


def _manage(environment: dict[str, str], *arguments: str) -> None:
    result = subprocess.run(_command(*arguments), env=environment, capture_output=True, text=True, check=False)
    if result.returncode:
        raise CommandError(f"{arguments[0]} failed: {result.stderr.strip()}")
