"""Rebuilds and checks that somebody starts in the admin: each runs in a process of its own and leaves a record."""

import logging
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from uuid import uuid4

from django.conf import settings
from django.db import Error, connections
from django.db.models import QuerySet
from django.utils import timezone

from apps.eventlog import store
from apps.eventlog.models import Job
from apps.eventlog.projectors import Projector
from apps.eventlog.replay.rebuild import AlreadyRunning, rebuild
from apps.eventlog.replay.verify_rows import verify

logger = logging.getLogger(__name__)

BEAT = 1.0  # seconds between two signs of life
SILENCE = timedelta(seconds=20)  # after which a job counts as dead, whatever killed it
KEPT = 100  # differences on record


def start(kind: type[Projector], what: str, by: str) -> Job:
    """Begin a job of `Job.Kind` in a process that outlives this one. Raises AlreadyRunning."""
    if running().filter(projector=kind.name).exists():
        raise AlreadyRunning(f"{kind.name} is being rebuilt or verified already")
    now = timezone.now()
    job = Job.objects.create(id=uuid4(), projector=kind.name, kind=what, started_by=by, started_at=now, beat_at=now)
    command = [sys.executable, str(settings.BASE_DIR / "manage.py"), "run_job", str(job.pk)]
    quiet = subprocess.DEVNULL
    # A session of its own: what stops the server does not stop a rebuild halfway.
    subprocess.Popen(command, stdin=quiet, stdout=quiet, start_new_session=True)
    return job


def running() -> QuerySet[Job]:
    """The jobs that give signs of life; one whose process was killed is not among them for long."""
    return Job.objects.filter(finished_at=None, beat_at__gt=timezone.now() - SILENCE)


def latest() -> dict[str, Job]:
    """The last job of each projector, by its name."""
    jobs = (Job.objects.filter(projector=name).order_by("-started_at").first() for name in Projector.registry)
    return {job.projector: job for job in jobs if job}


def carry_out(job: Job) -> None:
    """Do what a job asks for, and enter what came of it, a failure too."""
    kind = Projector.registry[job.projector]
    job.total = store.count(category=kind.categories)
    with _signs_of_life(job):
        try:
            _run(job, kind)
        except AlreadyRunning as busy:
            job.outcome = f"Not done: {busy}"
        except Exception as error:
            logger.exception("%s failed", job)
            job.outcome = f"Failed: {type(error).__name__}: {error}"
    job.finished_at = timezone.now()
    job.save()


def _run(job: Job, kind: type[Projector]) -> None:
    def advance(events: int) -> None:
        job.done += events

    if job.kind == Job.Kind.REBUILD:
        job.outcome = f"Rebuilt from {rebuild(kind, progress=advance)} events"
        return
    found = verify(kind, progress=advance)
    job.outcome = f"{len(found)} differences" if found else "As the log says"
    # Where, and not what: the values may be personal, and this record outlives an erasure.
    job.differences = [[difference.table, difference.key, difference.field] for difference in found[:KEPT]]


@contextmanager
def _signs_of_life(job: Job) -> Iterator[None]:
    """Enter how far a job is, once a second, from a thread: a phase without progress is no silence."""
    over = threading.Event()

    def beat() -> None:
        while not over.wait(BEAT):
            try:
                Job.objects.filter(pk=job.pk).update(done=job.done, total=job.total, beat_at=timezone.now())
            except Error:  # the next one may be heard
                connections.close_all()
        connections.close_all()

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
