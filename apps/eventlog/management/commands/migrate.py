"""`manage.py migrate` for all databases in one call."""

from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import CommandError, CommandParser
from django.core.management.commands import migrate
from django.db import connections, router
from django.db.migrations.exceptions import AmbiguityError
from django.db.migrations.executor import MigrationExecutor

from apps.eventlog import reservations
from apps.eventlog.database.private_files import close_to_others
from apps.eventlog.management import irreplaceable
from apps.eventlog.management.log_command import say_left_out


class Command(migrate.Command):
    help = (
        "Brings the schema of every database up to date; with --database, only of that one. If an older version has "
        "reserved values in another form, the reservations are made again at the end."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.set_defaults(database=None)

    def get_check_kwargs(self, options: dict[str, Any]) -> Any:
        return super().get_check_kwargs(options) | {"databases": self._aliases(options)}

    def handle(self, *args: Any, **options: Any) -> None:
        changes = not (options["plan"] or options["check_unapplied"])
        if options["app_label"] in settings.LEFT_OUT:
            raise CommandError(f"SERVE leaves out {options['app_label']}: its database is not migrated")
        for alias in self._aliases(options):
            if changes and _goes_back(alias, options["app_label"], options["migration_name"]):
                irreplaceable.refuse(f"migrate {options['app_label']} {options['migration_name']}", alias)
            if options["verbosity"] and not options["database"]:
                self.stdout.write(self.style.MIGRATE_HEADING(f"Database {alias}"))
            super().handle(*args, **options | {"database": alias})
            if alias == "default" and changes:
                call_command("createcachetable", database=alias, verbosity=0)
            if changes:
                _truncate_write_ahead_log(alias)
                self._close_files(alias)
        if options["database"] or options["app_label"]:
            return
        say_left_out(self, "their databases are not migrated")
        if changes and reservations.outdated():
            self._rebuild_reservations()

    def _rebuild_reservations(self) -> None:
        """From here on older code cannot reserve; newer code can when this is done. The schema is migrated anyway."""
        try:
            call_command("rebuild_reservations", no_progress=True, stdout=self.stdout)
        except CommandError as error:
            later = "nobody can reserve anything (register, for example) until rebuild_reservations has succeeded"
            self.stderr.write(f"{error}; {later}")

    def _close_files(self, alias: str) -> None:
        """On SQLite, take the rights of others from files that earlier versions made."""
        if connections[alias].vendor == "sqlite":
            name = connections[alias].settings_dict["NAME"]
            for file in (Path(f"{name}{ending}") for ending in ("", "-wal", "-shm")):
                if close_to_others(file):
                    self.stderr.write(f"{file} is now readable by its owner alone")

    def _aliases(self, options: dict[str, Any]) -> list[str]:
        if options["database"]:
            return [options["database"]]
        if options["app_label"]:
            return [alias for alias in connections if router.allow_migrate(alias, options["app_label"])]
        return list(connections)


def _goes_back(alias: str, app: str | None, name: str | None) -> bool:
    """Would going to this migration of the app undo another one? What is no migration is for Django to say."""
    if not app or not name:
        return False
    executor = MigrationExecutor(connections[alias])
    try:
        target = None if name == "zero" else executor.loader.get_migration_by_prefix(app, name).name
    except (AmbiguityError, KeyError):
        return False
    return any(backwards for _, backwards in executor.migration_plan([(app, target)]))  # type: ignore[list-item]


def _truncate_write_ahead_log(alias: str) -> None:
    """On SQLite, take out of the files what a migration has deleted: the data keys that moved away, for one."""
    if connections[alias].vendor == "sqlite":
        with connections[alias].cursor() as cursor:
            cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
