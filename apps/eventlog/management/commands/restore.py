"""`manage.py restore DIR`: put a backup back, and repair what that takes."""

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import DatabaseError, connections

from apps.eventlog.backup import moment, unfinished
from apps.eventlog.backup.database_copy import CannotCopy
from apps.eventlog.backup.manifest import Manifest, Unusable, read
from apps.eventlog.backup.put_back import put_back
from apps.eventlog.backup.repair import NotAsWritten, repair
from apps.eventlog.encryption.data_keys import WrongKey
from apps.eventlog.management.log_command import LogCommand, interrupted_by_sigterm, visible
from apps.eventlog.management.progress import progress_bar
from apps.eventlog.replay.rebuild_lock import AlreadyRunning
from apps.eventlog.replay.shadow_table import TableInUse

REFUSED = (
    Unusable,
    CannotCopy,
    NotAsWritten,
    AlreadyRunning,
    TableInUse,
    unfinished.Busy,
    WrongKey,
    DatabaseError,
    OSError,
)


class Command(LogCommand):
    takes_everything = True
    help = (
        "Puts a backup that `manage.py backup` made in the place of the databases, and repairs what that takes: rows "
        "that are behind the log or ahead of it, reservations, erasures. Stop all servers and workers first. Refuses a "
        "folder that is incomplete or damaged, and databases that are not empty unless --replace is given. On "
        "PostgreSQL, run it as the owner of each database, as for migrate. If it is interrupted, nothing may serve "
        "until it has run again. docs/how-to/back-up-and-restore.md"
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        add = parser.add_argument
        add("folder", type=Path, metavar="DIR", help="the folder of a backup")
        add("--replace", action="store_true", help="destroy what is in the databases now")
        add("--database", action="append", metavar="ALIAS", help="only this database; may be repeated")
        add("--verify", action="store_true", help="then check every row against the log, and the seals")
        add("--check", action="store_true", help="change nothing: only look whether the folder is whole")
        add("--no-progress", action="store_true", help="no progress bar")

    def handle(self, *args: Any, **options: Any) -> None:
        folder: Path = options["folder"].absolute()
        try:
            with interrupted_by_sigterm(), unfinished.alone():
                wrong = self._restore(folder, options)
        except REFUSED as error:
            raise CommandError(f"{(str(error).splitlines() or [repr(error)])[0]}{_again()}") from error
        except KeyboardInterrupt:
            raise CommandError(f"interrupted{_again()}") from None
        if options["check"]:
            return
        self.stdout.write(self.style.SUCCESS("restored"))
        if options["verify"]:
            call_command("verify_log", no_progress=True, stdout=self.stdout, stderr=self.stderr)
            call_command("replay_events", verify=True, no_progress=True, stdout=self.stdout, stderr=self.stderr)
        if wrong:
            raise CommandError(f"{wrong} things are left for you, see above")

    def _restore(self, folder: Path, options: dict[str, Any]) -> int:
        """Returns how many things were found that an operator must see to."""
        hidden = options["no_progress"]
        with progress_bar("bytes checked", None, hidden=hidden) as advance:
            manifest = read(folder, advance)
        taken = f"{manifest.taken_at:%Y-%m-%d %H:%M:%S} UTC"
        self.stdout.write(f"{folder} is whole: the log up to position {manifest.position}, as of {taken}")
        if options["check"]:
            return 0
        aliases = self._aliases(manifest, options["database"])
        with progress_bar("bytes restored", None, hidden=hidden) as advance:
            record = put_back(folder, manifest, aliases, advance, self._say, replace=options["replace"])
        wrong = 0
        for done in repair(manifest, record.erasures, of_log=moment.LOG in aliases):
            self._say(f"WRONG: {done.what}" if done.wrong else done.what)
            wrong += done.wrong
        unfinished.end()
        return wrong

    def _aliases(self, manifest: Manifest, chosen: list[str] | None) -> list[str]:
        """The databases to replace: those that were chosen, or all that are in the backup and here."""
        there = [each.alias for each in manifest.databases]
        if chosen:
            if strange := [alias for alias in chosen if alias not in there or alias not in connections]:
                raise CommandError(
                    f"no database {', '.join(strange)} in the backup and here; there are {', '.join(there)}"
                )
            if moment.DEFAULT in chosen and set(there) - set(chosen) - set(moment.LAST):
                raise CommandError(
                    "the logins of default go with the read databases and processes, whose reactors know which of them "
                    "they have closed: name all of these too"
                )
            return chosen
        for alias in {*there} ^ {*connections}:
            where = "here" if alias in there else "in the backup"
            self._say(f"{alias} stays as it is, because there is no such database {where}")
        return [alias for alias in there if alias in connections]

    def _say(self, what: str) -> None:
        self.stdout.write(visible(what))


def _again() -> str:
    """What to do if the restore has begun; "" if nothing was changed."""
    if unfinished.read() is None:
        return ""
    return ". The restore has not ended, and nothing may serve: run it again"
