"""`manage.py print_roles`: the roles, databases and grants of this deployment on PostgreSQL."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import CommandError

from apps.eventlog.log import roles
from apps.eventlog.management.log_command import LogCommand


class Command(LogCommand):
    takes_everything = True
    help = (
        "Prints a script for psql that makes a role and a database for each alias and gives each role what it needs. "
        "It connects to nothing. Running the script again is safe, also while the application serves; it says when."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--prefix", default="headrace", help="what each name begins with (headrace)")
        parser.add_argument(
            "--pool",
            action="store_true",
            help="also set the limits of time for the roles, where no pooler can lose them (for ?pool=transaction)",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            self.stdout.write(roles.script(options["prefix"], pool=options["pool"]))
        except ValueError as error:
            raise CommandError(f"--prefix: {error}") from error
