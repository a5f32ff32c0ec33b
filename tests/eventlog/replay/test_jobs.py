"""Rebuilds and checks from the admin: their record, their progress, and what a killed one leaves."""

from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.auth import get_user_model
from django.test import Client
from django.utils import timezone

from apps.eventlog import store
from apps.eventlog.models import Job
from apps.eventlog.replay import jobs
from apps.eventlog.replay.rebuild_lock import AlreadyRunning
from apps.users.models import User
from apps.users.read.projectors import UserProjector
from tests.journeys.deployment import eventually
from tests.support.history import make_history


@pytest.fixture
def browser() -> Client:
    client = Client()
    client.force_login(get_user_model().objects.create_superuser("admin"))
    return client


def asked(kind: str) -> Job:
    now = timezone.now()
    return Job.objects.create(
        id=uuid4(), projector="UserProjector", kind=kind, started_by="ann", started_at=now, beat_at=now
    )


def test_a_check_finds_what_a_rebuild_mends(browser: Client) -> None:
    make_history(users=3, commands=10)
    forged = User.objects.first()
    User.objects.filter(pk=forged.pk).update(name="Forged")
    check, rebuild, again = (asked(kind) for kind in ("verify", "rebuild", "verify"))
    for job in (check, rebuild, again):
        jobs.run(job)
    events = store.count(category="user")
    assert check.outcome == "1 differences"
    assert rebuild.outcome == f"Rebuilt from {events} events"
    assert (rebuild.done, rebuild.total) == (events, events)
    assert again.outcome == "As the log says"
    page = browser.get(f"/admin/eventlog/job/{check.pk}/change/").content.decode()
    assert str(forged.pk) in page
    assert "Forged" not in page  # the record keeps no values, which may be personal
    assert "As the log says" in browser.get("/admin/projectors/").content.decode()


def test_a_job_that_fails_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    make_history(users=1, commands=2)

    def fail(*arguments: Any, **more: Any) -> None:
        raise ZeroDivisionError("planted")

    monkeypatch.setattr(jobs, "rebuild", fail)
    job = asked("rebuild")
    jobs.run(job)
    job.refresh_from_db()
    assert job.outcome == "Failed: ZeroDivisionError: planted"
    assert not jobs.running().exists()


def test_a_killed_job_does_not_run_for_ever(browser: Client) -> None:
    job = asked("rebuild")
    assert "running" in browser.get("/admin/projectors/").content.decode()
    with pytest.raises(AlreadyRunning):
        jobs.start(UserProjector, "rebuild", by="ann")
    assert (
        b"already"
        in browser.post("/admin/projectors/", {"projector": "UserProjector", "kind": "verify"}, follow=True).content
    )
    Job.objects.filter(pk=job.pk).update(beat_at=timezone.now() - jobs.SILENCE - timedelta(seconds=1))
    page = browser.get("/admin/projectors/").content.decode()
    assert "process was killed" in page
    assert "running" not in page


def test_signs_of_life_tell_how_far_a_job_is(monkeypatch: pytest.MonkeyPatch) -> None:
    make_history(users=1, commands=2)
    monkeypatch.setattr(jobs, "BEAT", 0.01)

    def watched(kind: Any, progress: Any) -> int:
        progress(7)
        eventually(lambda: Job.objects.get().done == 7)
        return 7

    monkeypatch.setattr(jobs, "rebuild", watched)
    jobs.run(asked("rebuild"))
    assert Job.objects.get().outcome == "Rebuilt from 7 events"


@pytest.mark.parametrize(
    "body", [{}, {"projector": "NoSuch", "kind": "rebuild"}, {"projector": "UserProjector", "kind": "drop"}]
)
def test_what_is_no_job_is_not_found(browser: Client, body: dict[str, str]) -> None:
    assert browser.post("/admin/projectors/", body).status_code == 404
    assert not Job.objects.exists()


def test_only_staff_see_the_projectors() -> None:
    assert Client().get("/admin/projectors/").status_code == Client().post("/admin/projectors/").status_code == 302
