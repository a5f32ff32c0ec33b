"""`manage.py run_job`: what the admin starts for a rebuild or a check."""

from argparse import ArgumentParser
from typing import Any
from uuid import UUID

from django.core.management.base import CommandError

from apps.eventlog.management.log_command import LogCommand
from apps.eventlog.models import Job
from apps.eventlog.replay import jobs


class Command(LogCommand):
    help = "Runs a rebuild or a check that was asked for in the admin; replay_events is for people."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("id", type=UUID)

    def handle(self, *args: Any, **options: Any) -> None:
        job = Job.objects.filter(pk=options["id"], finished_at=None).first()
        if job is None:
            raise CommandError(f"no job {options['id']} waits")
        jobs.run(job)
