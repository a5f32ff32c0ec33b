"""A replay by code that cannot read the log leaves the rows as they are, says which events, and fails."""

from io import StringIO
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.core.management import CommandError, call_command

from apps.eventlog import store
from apps.eventlog.dispatch import dispatch
from apps.eventlog.events import DomainEvent
from apps.eventlog.models import Job
from apps.eventlog.replay import jobs
from apps.users.events import UserRenamed
from apps.users.models import Checkpoint, DeadLetter, User
from apps.users.read.projectors import UserProjector
from apps.users.write.commands import ChangeEmail, RegisterUser, RenameUser
from tests.eventlog.replay.test_jobs import asked
from tests.support.fold import projected


def replay(*arguments: str) -> str:
    out = StringIO()
    call_command("replay_events", "--no-progress", *arguments, stdout=out)
    return out.getvalue()


@pytest.fixture
def people() -> tuple[UUID, UUID]:
    """Two users; the first is renamed and then changes the address."""
    one, other = uuid4(), uuid4()
    dispatch(RegisterUser(one, "one@example.org", "One"))
    dispatch(RegisterUser(other, "other@example.org", "Other"))
    dispatch(RenameUser(one, "Uno"))
    dispatch(ChangeEmail(one, "uno@example.org"))
    return one, other


@pytest.fixture(params=["unknown type", "newer version", "failing handler"])
def older_code(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, people: Any) -> None:
    """This code cannot project `UserRenamed`, as that from before a deployment."""
    if request.param == "unknown type":
        monkeypatch.delitem(DomainEvent.types, UserRenamed.type)
    elif request.param == "newer version":
        monkeypatch.setattr(UserRenamed, "schema_version", 0)
    else:
        monkeypatch.setattr(UserProjector, "renamed", lambda *arguments: 1 / 0)


@pytest.mark.parametrize("workers", ["1", "2"])
def test_nothing_changes_and_the_events_are_named(people: tuple[UUID, UUID], older_code: None, workers: str) -> None:
    User.objects.filter(id=people[1]).update(name="Edited")  # which a replay would mend
    before, checkpoint = projected(), Checkpoint.objects.values().get(name="UserProjector")
    with pytest.raises(CommandError) as refusal:
        replay("--service", "users", "--workers", workers)
    for position in (3, 4):  # and the one that would wait behind it
        assert f"position {position}, event {store.event_at(position).event_id}" in str(refusal.value)
    assert "--accept-dead-letters" in str(refusal.value)
    assert projected() == before
    assert Checkpoint.objects.values().get(name="UserProjector") == checkpoint
    assert not DeadLetter.objects.exists()


def test_an_operator_may_accept_them(people: tuple[UUID, UUID], older_code: None) -> None:
    assert "2 set aside" in replay("--service", "users", "--accept-dead-letters")
    assert [letter.position for letter in DeadLetter.objects.all()] == [3, 4]
    assert sorted(User.objects.values_list("name", flat=True)) == ["One", "Other"]
    replay("--service", "users")  # they are set aside already, so nothing is lost again


def test_what_the_rows_have_not_taken_in_is_set_aside_as_ever(people: tuple[UUID, UUID], older_code: None) -> None:
    place = store.event_at(2).place
    Checkpoint.objects.filter(name="UserProjector").update(
        position=place.position, event_position=place.position, event_id=place.event_id
    )
    assert "2 set aside" in replay("--service", "users")


def test_a_rebuild_from_the_admin_says_so_without_values(people: tuple[UUID, UUID], older_code: None) -> None:
    job = asked(Job.Kind.REBUILD)
    jobs.run(job)
    assert job.outcome.startswith("Not done: UserProjector: this code cannot project 2 events")
    assert "Uno" not in job.outcome
    assert User.objects.get(id=people[0]).name == "Uno"
