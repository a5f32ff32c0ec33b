"""Databases as of a past instant, beside the live ones."""

import subprocess
import sys

import msgspec
from django.conf import settings
from django.core import serializers
from django.core.management.base import CommandError

from apps.eventlog import store
from apps.eventlog.delivery import checkpoints
from apps.eventlog.models import DeadLetter
from apps.eventlog.projectors import Projector
from apps.eventlog.replay.fold_streams import Progress
from apps.eventlog.replay.target_databases import target_databases


def build_past(into: str, until: int, kinds: list[type[Projector]], progress: Progress) -> str:
    """Build databases that hold the log up to a position and the rows as they stood there; returns how to open them.

    `into` is a suffix, for databases beside the live ones on their own engine, or a directory, for SQLite files
    in it: see `target_databases`. What an operator has skipped since stays out of the rows here too.
    """
    with target_databases(into) as environment:
        _fill(environment, until, kinds, progress)
    suffix = environment["DATABASE_SUFFIX"]
    return f"DATABASE_SUFFIX={suffix} make run DEMO=0" if suffix else f"make run DATA_DIR={into} DEMO=0"


def _fill(environment: dict[str, str], until: int, kinds: list[type[Projector]], progress: Progress) -> None:
    _manage(environment, "migrate", "-v0")
    command = _command("import_events", "-", "--rows-later", "--no-progress")
    with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as importer:
        assert importer.stdin is not None  # noqa: S101
        for recorded in store.read_all(until=until):
            importer.stdin.write(msgspec.json.encode(recorded.document()) + b"\n")
            progress(1)
        importer.stdin.close()
        if importer.wait():
            raise CommandError("the log could not be written there")
    for service in {kind.service for kind in kinds}:
        skipped = checkpoints.dead_letter_model(service).objects.filter(status=DeadLetter.Status.SKIPPED)
        if letters := skipped.filter(position__lte=until):
            letters = serializers.serialize("json", letters)
            _manage(environment, "loaddata", "--database", service, "--format", "json", "-", said=letters)
    every = len(kinds) == len(Projector.registry)
    for choice in [()] if every else [("--projector", kind.name) for kind in kinds]:
        _manage(environment, "replay_events", "--no-progress", *choice)


def _command(*arguments: str) -> list[str]:
    return [sys.executable, str(settings.BASE_DIR / "manage.py"), *arguments]


def _manage(environment: dict[str, str], *arguments: str, said: str = "") -> None:
    command = _command(*arguments)
    result = subprocess.run(command, env=environment, input=said, capture_output=True, text=True, check=False)
    if result.returncode:
        raise CommandError(f"{arguments[0]} failed: {result.stderr.strip()}")
