"""`manage.py erase_user ID --reason "..."`: forget a person."""

import getpass
from argparse import ArgumentParser
from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError

from apps.eventlog import erasures
from apps.eventlog.commands import Actor
from apps.eventlog.dispatch import dispatch
from apps.eventlog.repository import NotFound
from apps.users.write.commands import EraseUser


class Command(BaseCommand):
    requires_system_checks = ()  # it needs no pages
    help = (
        "Erases a user for good: the log and every row say [erased] where they named the person; orders and totals "
        "stay. Safe to run again after an interruption. docs/personal-data.md says what remains in files until when."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("user", type=UUID, metavar="ID", help="the user's id")
        parser.add_argument("--reason", required=True, help="stays in the log for ever, so nothing personal")

    def handle(self, *args: Any, **options: Any) -> None:
        user, reason = options["user"], options["reason"].strip()
        if not reason:
            raise CommandError("--reason must say why")
        try:
            outcome = dispatch(EraseUser(user, reason), actor=Actor.operator(getpass.getuser()))
        except NotFound:
            raise CommandError(f"no user {user}") from None
        if not erasures.complete(user, service="users"):
            raise CommandError(f"{user} is erased in the log, but the data key stands yet: run this again")
        self.stdout.write(self.style.SUCCESS(f"{user} is erased, at position {outcome.position}"))
