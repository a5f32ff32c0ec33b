"""`manage.py erase_user ID --reason "..."`: forget a person."""

import getpass
from argparse import ArgumentParser
from typing import Any
from uuid import UUID

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from apps.eventlog import erasures
from apps.eventlog.commands import Actor
from apps.eventlog.dispatch import dispatch
from apps.eventlog.events import UnknownEvent
from apps.eventlog.repository import NotFound
from apps.users.write.commands import EraseUser


class Command(BaseCommand):
    requires_system_checks = ()  # they would load all pages, which it does not need
    help = (
        "Erases a user for ever: personal data in the log and in every row becomes [erased]; orders and totals stay. "
        "Safe to run again after an interruption. docs/how-to/forget-a-person.md says what remains in files, and until "
        "when."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("user", type=UUID, metavar="ID", help="the user's id")
        parser.add_argument(
            "--reason", required=True, help="why; it stays in the log for ever, so it must say nothing personal"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        user, reason = options["user"], options["reason"].strip()
        if not reason:
            raise CommandError("--reason must say why")
        if "users" in settings.LEFT_OUT:
            raise CommandError("users erases a person, and SERVE leaves it out: run this with SERVE=users")
        try:
            outcome = dispatch(EraseUser(user, reason), actor=Actor.operator(getpass.getuser()))
        except NotFound:
            raise CommandError(f"no user {user}") from None
        except UnknownEvent as error:
            raise CommandError(f"this code cannot read the user's stream: {error}") from error
        if not erasures.complete(user, service="users"):
            raise CommandError(f"{user} is erased in the log, but the data key is not destroyed yet: run this again")
        self.stdout.write(self.style.SUCCESS(f"{user} is erased, at position {outcome.position}"))
