"""`manage.py lock_schemas`: record the schemas of all events, and refuse changes that break recorded events."""

from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError

from apps.eventlog.log import schema_lock
from apps.eventlog.management.log_command import LogCommand


class Command(LogCommand):
    help = (
        "Writes the schemas of each service's events to its events.lock.json. Refuses to change a locked version, "
        "except by a new field with a default; any other change takes a new schema_version and an upcaster."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if a schema is not locked")

    def handle(self, *args: Any, **options: Any) -> None:
        if problems := [problem for service in settings.SERVICES for problem in schema_lock.problems(service)]:
            raise CommandError("\n".join(problems))
        unlocked = [name for service in settings.SERVICES for name in schema_lock.unlocked(service)]
        if options["check"] and unlocked:
            raise CommandError(f"not locked, run make schemas: {', '.join(unlocked)}")
        for service in settings.SERVICES if unlocked else ():
            schema_lock.lock(service)
        self.stdout.write(f"locked: {', '.join(unlocked)}" if unlocked else "every event schema is as locked")
