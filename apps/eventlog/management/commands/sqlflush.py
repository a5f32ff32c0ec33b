"""`manage.py sqlflush`, which gives out no statements that would destroy what cannot be rebuilt."""

from typing import Any

from django.core.management.commands import sqlflush

from apps.eventlog.management import irreplaceable


class Command(sqlflush.Command):
    def handle(self, **options: Any) -> str:
        irreplaceable.refuse("sqlflush", options["database"])
        return super().handle(**options)
