"""Build databases as of a past position of the log; the live ones are not touched."""

import subprocess
import sys
import tempfile

from django.conf import settings
from django.core import serializers
from django.core.management import call_command
from django.core.management.base import CommandError

from apps.eventlog import store
from apps.eventlog.delivery import checkpoints
from apps.eventlog.encryption import data_keys
from apps.eventlog.log.importing import exported
from apps.eventlog.models import DeadLetter
from apps.eventlog.projectors import Projector
from apps.eventlog.replay.fold_streams import Progress
from apps.eventlog.replay.target_databases import target_databases


def build_past(into: str, until: int, kinds: list[type[Projector]], progress: Progress) -> str:
    """Build databases with the log up to a position, and the rows of these projectors as of that position.

    `into` is a suffix of the names of databases on the live ones' engine, or a directory for SQLite files: see
    `target_databases`. An event that an operator has skipped since then stays out of the rows here too. `progress` is
    called with the number of events copied since its last call. Returns the command that opens the databases. Raises
    `CommandError`.
    """
    with target_databases(into) as environment:
        _manage(environment, "migrate", "-v0")
        _copy_data_keys(environment)
        _copy_log(environment, until, progress)
        _copy_skipped_dead_letters(environment, until, kinds)
        every = len(kinds) == len(Projector.registry)
        for choice in [()] if every else [("--projector", kind.name) for kind in kinds]:
            _manage(environment, "replay_events", "--no-progress", *choice)
    suffix = environment["DATABASE_SUFFIX"]
    return f"DATABASE_SUFFIX={suffix} make run DEMO=0" if suffix else f"make run DATA_DIR={into} DEMO=0"


def _copy_data_keys(environment: dict[str, str]) -> None:
    """Before the log, so that its personal fields can be read there; those of erased persons stay destroyed."""
    with tempfile.NamedTemporaryFile(suffix=".json") as file:  # only its owner can read it
        call_command("dumpdata", "keys.PersonalKey", database=data_keys.ALIAS, output=file.name, verbosity=0)
        _manage(environment, "loaddata", "--database", data_keys.ALIAS, file.name)


def _copy_log(environment: dict[str, str], until: int, progress: Progress) -> None:
    command = _command("import_events", "-", "--rows-later", "--no-progress")
    with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as importer:
        assert importer.stdin is not None  # noqa: S101
        for recorded in store.read_all(until=until, encrypted=True):
            importer.stdin.write(exported(recorded) + b"\n")
            progress(1)
        importer.stdin.close()
        if importer.wait():
            raise CommandError("the log could not be copied")


def _copy_skipped_dead_letters(environment: dict[str, str], until: int, kinds: list[type[Projector]]) -> None:
    for service in {kind.service for kind in kinds}:
        skipped = checkpoints.dead_letter_model(service).objects.filter(status=DeadLetter.Status.SKIPPED)
        if dead_letters := skipped.filter(position__lte=until):
            document = serializers.serialize("json", dead_letters)
            _manage(environment, "loaddata", "--database", service, "--format", "json", "-", stdin=document)


def _command(*arguments: str) -> list[str]:
    return [sys.executable, str(settings.BASE_DIR / "manage.py"), *arguments]


def _manage(environment: dict[str, str], *arguments: str, stdin: str = "") -> None:
    """Run a management command on the databases that the environment names."""
    command = _command(*arguments)
    result = subprocess.run(command, env=environment, input=stdin, capture_output=True, text=True, check=False)
    if result.returncode:
        raise CommandError(f"{arguments[0]} failed: {result.stderr.strip()}")
