"""`manage.py flush`, which leaves alone what cannot be rebuilt."""

from typing import Any

from django.core.management.commands import flush

from apps.eventlog.management import irreplaceable


class Command(flush.Command):
    help = f"{flush.Command.help} Refused for a database that cannot be rebuilt, unless there is nothing to lose."

    def handle(self, **options: Any) -> None:
        irreplaceable.refuse("flush", options["database"])
        super().handle(**options)
