"""`manage.py lock_schemas`: remember the schemas of all events; refuse a change that recorded ones do not bear."""

from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError

from apps.eventlog.log import schema_lock
from apps.eventlog.management.log_command import LogCommand


class Command(LogCommand):
    help = (
        "Writes the schemas of every service's events into its events.lock.json. Refuses a change of a version that "
        "is locked, unless it is a new field with a default: that takes a new schema_version and an upcaster."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--check", action="store_true", help="write nothing, exit 1 where something is not locked")

    def handle(self, *args: Any, **options: Any) -> None:
        if problems := [problem for service in settings.SERVICES for problem in schema_lock.problems(service)]:
            raise CommandError("\n".join(problems))
        unlocked = [name for service in settings.SERVICES for name in schema_lock.unlocked(service)]
        if options["check"] and unlocked:
            raise CommandError(f"not locked, run make schemas: {', '.join(unlocked)}")
        for service in settings.SERVICES if unlocked else ():
            schema_lock.lock(service)
        self.stdout.write(f"locked: {', '.join(unlocked)}" if unlocked else "every event schema is as locked")
