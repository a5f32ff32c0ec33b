"""`manage.py migrate` for all databases in one call."""

from typing import Any

from django.core.management import call_command
from django.core.management.base import CommandParser
from django.core.management.commands import migrate
from django.db import connections, router


class Command(migrate.Command):
    help = "Brings the schema of every database up to date; with --database, only of that one."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.set_defaults(database=None)

    def get_check_kwargs(self, options: dict[str, Any]) -> Any:
        return super().get_check_kwargs(options) | {"databases": self._aliases(options)}

    def handle(self, *args: Any, **options: Any) -> None:
        for alias in self._aliases(options):
            if options["verbosity"] and not options["database"]:
                self.stdout.write(self.style.MIGRATE_HEADING(f"Database {alias}"))
            super().handle(*args, **options | {"database": alias})
            if alias == "default" and not (options["plan"] or options["check_unapplied"]):
                call_command("createcachetable", database=alias, verbosity=0)

    def _aliases(self, options: dict[str, Any]) -> list[str]:
        if options["database"]:
            return [options["database"]]
        if options["app_label"]:
            return [alias for alias in connections if router.allow_migrate(alias, options["app_label"])]
        return list(connections)
