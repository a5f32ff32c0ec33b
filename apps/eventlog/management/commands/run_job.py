"""`manage.py run_job`: the process of a rebuild or a check that was started in the admin."""

from argparse import ArgumentParser
from typing import Any
from uuid import UUID

from django.core.management.base import CommandError

from apps.eventlog.management.log_command import LogCommand
from apps.eventlog.models import Job
from apps.eventlog.replay import jobs


class Command(LogCommand):
    help = "Runs a rebuild or a check that was started in the admin. To start one by hand, use replay_events."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("id", type=UUID, help="the id of the job")

    def handle(self, *args: Any, **options: Any) -> None:
        job = Job.objects.filter(pk=options["id"], finished_at=None).first()
        if job is None:
            raise CommandError(f"no job {options['id']} waits")
        jobs.run(job)
