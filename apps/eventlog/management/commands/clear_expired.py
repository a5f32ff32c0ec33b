"""`manage.py clear_expired`: delete what has expired."""

from typing import Any

from apps.eventlog.api import expiry
from apps.eventlog.management.log_command import LogCommand


class Command(LogCommand):
    help = (
        "Deletes expired tokens and sessions, answers kept for Idempotency-Keys for longer than IDEMPOTENCY_HOURS, and "
        "tables that a killed rebuild has left. "
        "run_projectors does the same once an hour."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        gone = expiry.clear()
        self.stdout.write(self.style.SUCCESS(", ".join(f"{count} {what}" for what, count in gone.items()) + " cleared"))
