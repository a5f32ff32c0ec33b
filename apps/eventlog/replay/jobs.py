"""Jobs: rebuilds and checks that somebody starts in the admin, each in its own process and with a record."""

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
from django.db.models import Q, QuerySet
from django.utils import timezone

from apps.eventlog import store
from apps.eventlog.errors.texts import ID, without_values
from apps.eventlog.models import Job
from apps.eventlog.projectors import Projector
from apps.eventlog.replay.rebuild import WouldSetAside, rebuild, repair_reactors
from apps.eventlog.replay.rebuild_lock import AlreadyRunning
from apps.eventlog.replay.verify_rows import Difference, verify

logger = logging.getLogger(__name__)

BEAT = 1.0  # seconds between two heartbeats
SILENCE = timedelta(seconds=20)  # a job without a heartbeat for so long counts as dead
KEPT = 100  # differences on record
REBUILT, THE_SAME = "Rebuilt from", "As the log says"  # how the outcome of a job begins that went well


def start(kind: type[Projector], what: str, by: str) -> Job:
    """Start a job in a process that outlives this one. `what` is a `Job.Kind`, `by` a username.

    Raises `AlreadyRunning`.
    """
    if running().filter(projector=kind.name).exists():
        raise AlreadyRunning(f"{kind.name} is being rebuilt or verified already")
    now = timezone.now()
    job = Job.objects.create(id=uuid4(), projector=kind.name, kind=what, started_by=by, started_at=now, beat_at=now)
    command = [sys.executable, str(settings.BASE_DIR / "manage.py"), "run_job", str(job.pk)]
    quiet = subprocess.DEVNULL
    # In a session of its own, so that the signal that stops the server does not stop a rebuild halfway.
    subprocess.Popen(command, stdin=quiet, stdout=quiet, start_new_session=True)
    return job


def running() -> QuerySet[Job]:
    """The jobs with a recent heartbeat. A job whose process was killed drops out after `SILENCE`."""
    return Job.objects.filter(finished_at=None, beat_at__gt=timezone.now() - SILENCE)


def latest() -> dict[str, Job]:
    """The last job of each projector, by the name of the projector."""
    jobs = (Job.objects.filter(projector=name).order_by("-started_at").first() for name in Projector.registry)
    return {job.projector: job for job in jobs if job}


def last_done() -> dict[tuple[str, str], Job]:
    """The last job of each kind and projector that went well, by the projector and the kind: how long it takes."""
    well = Q(outcome__startswith=REBUILT) | Q(outcome=THE_SAME)
    return {
        (name, kind): job
        for name in Projector.registry
        for kind in Job.Kind.values
        if (job := Job.objects.filter(well, projector=name, kind=kind).order_by("-started_at").first())
    }


def complaints() -> list[tuple[str, str]]:
    """What became of the last job of each projector, if it did not go well: the projector, and a sentence."""
    alive = set(running().values_list("pk", flat=True))
    found = [(job.projector, _complaint(job)) for job in latest().values() if job.pk not in alive]
    return [each for each in found if each[1]]


def _complaint(job: Job) -> str:
    if job.finished_at is None:
        return f"the last {job} did not end: its process was killed, and the rows were not changed"
    if job.outcome.startswith((REBUILT, THE_SAME)):
        return ""
    if job.differences:
        return f"{job.projector} is not as the log says: {job.outcome} were found; a rebuild mends it"
    return f"the last {job} did not succeed: {job.outcome}"


def run(job: Job) -> None:
    """Do what a job asks for and record its outcome, also if it fails."""
    kind = Projector.registry[job.projector]
    job.total = store.count(category=kind.categories)
    with _heartbeat(job):
        try:
            _work(job, kind)
        except (AlreadyRunning, WouldSetAside) as refusal:
            job.outcome = f"Not done: {refusal}"
        except Exception as error:
            logger.exception("%s failed", job)
            job.outcome = f"Failed: {without_values(error)}"
    job.finished_at = timezone.now()
    job.save()


def _work(job: Job, kind: type[Projector]) -> None:
    def advance(events: int) -> None:
        job.done += events

    if job.kind == Job.Kind.REBUILD:
        job.outcome = f"{REBUILT} {rebuild(kind, progress=advance)} events"
        repair_reactors(kind.service)
        return
    found = verify(kind, progress=advance)
    job.outcome = f"{len(found)} differences" if found else THE_SAME
    about_people = {model._meta.db_table for model in kind.models if hasattr(model, "subject_field")}
    job.differences = [_kept(difference, about_people) for difference in found[:KEPT]]


def _kept(found: Difference, about_people: set[str]) -> list[str]:
    """A difference without the values, and of a row about a person without a key that is no id.

    They may be personal, and the record of the job stays when the person is erased.
    """
    personal = found.table in about_people and not ID.fullmatch(found.key)
    return [found.table, "…" if personal else found.key, found.field]


@contextmanager
def _heartbeat(job: Job) -> Iterator[None]:
    """Record every second how far a job has come. A thread does it, so a phase without progress is no silence."""
    finished = threading.Event()

    def beat() -> None:
        while not finished.wait(BEAT):
            try:
                Job.objects.filter(pk=job.pk).update(done=job.done, total=job.total, beat_at=timezone.now())
            except Error:  # the next heartbeat may succeed
                connections.close_all()
        connections.close_all()

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        finished.set()
        thread.join()
