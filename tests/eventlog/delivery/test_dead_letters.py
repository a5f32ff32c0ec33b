"""Dead letters: said once, retried in order, or skipped with a reason, which replays respect."""

import logging
import traceback
from io import StringIO
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.contrib.auth import get_user_model
from django.core.management import CommandError, call_command
from django.db import OperationalError
from django.test import Client

from apps.eventlog import store
from apps.eventlog.delivery import claims, projecting, reacting, retry
from apps.eventlog.dispatch import dispatch
from apps.eventlog.events import RecordedEvent
from apps.eventlog.replay import rebuild
from apps.users.events import UserRegistered, UserRenamed
from apps.users.models import Checkpoint, DeadLetter, User
from apps.users.reactors import LoginsOfInactiveUsers
from apps.users.read.projectors import UserProjector
from apps.users.write.commands import ChangeEmail, DeactivateUser, RegisterUser, RenameUser
from tests.support.fold import folded, projected
from tests.support.history import make_history

HEALTHY = UserProjector.renamed


def run(*arguments: str) -> str:
    out = StringIO()
    call_command("dead_letters", *arguments, stdout=out)
    return out.getvalue()


@pytest.fixture
def poisoned(monkeypatch: pytest.MonkeyPatch) -> tuple[UUID, UUID]:
    """Two users, of whom the first cannot be renamed to Bad; each is renamed and changes the address."""

    def renamed(self: UserProjector, row: User, event: UserRenamed, recorded: Any) -> None:
        if event.name == "Bad":
            raise ZeroDivisionError("poisoned")
        HEALTHY(self, row, event, recorded)

    monkeypatch.setattr(UserProjector, "renamed", renamed)
    bad, good = uuid4(), uuid4()
    for id, name in ((bad, "Bad"), (good, "Good")):
        dispatch(RegisterUser(id, f"{name}@example.org", "A"))
        dispatch(RenameUser(id, name))
        dispatch(ChangeEmail(id, f"{name}@example.net"))
    return bad, good


def failures(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    return [record for record in caplog.records if "cannot take event" in record.message]


@pytest.mark.parametrize("mode", ["inline", "worker"])
def test_what_cannot_be_projected_is_logged_once_with_its_traceback(
    request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture, settings: Any, mode: str
) -> None:
    settings.PROJECTIONS = mode
    bad, _ = request.getfixturevalue("poisoned")
    for _ in range(2):
        call_command("run_projectors", "--once", stdout=StringIO())
        dispatch(RenameUser(bad, "Bad"))  # waits behind the event that failed
        retry.retry(UserProjector, f"user-{bad}", by="ann")
    rebuild.rebuild(UserProjector)
    [record] = failures(caplog)
    event = store.event_at(2)
    assert record.message == (
        f"UserProjector cannot take event {event.event_id} at position 2, users.UserRenamed of user-{bad}"
    )
    assert record.exc_info
    frames = traceback.extract_tb(record.exc_info[2])
    assert (frames[-1].name, frames[-1].line) == ("renamed", 'raise ZeroDivisionError("poisoned")')


def test_a_projection_that_is_rolled_back_says_nothing_until_it_is_committed(
    poisoned: tuple[UUID, UUID], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.clear()
    Checkpoint.objects.filter(name="UserProjector").update(position=1)
    DeadLetter.objects.all().delete()
    advance, failing = claims.advance, [OperationalError("the server is shutting down")]

    def fail_once(*arguments: Any) -> None:
        if failing:
            raise failing.pop()
        advance(*arguments)

    monkeypatch.setattr(claims, "advance", fail_once)
    with pytest.raises(OperationalError):
        projecting.catch_up("users")
    assert failures(caplog) == []
    projecting.catch_up("users")
    assert len(failures(caplog)) == 1


def test_a_reaction_that_fails_is_logged_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*arguments: object) -> None:
        raise ZeroDivisionError("poisoned")

    monkeypatch.setattr(LoginsOfInactiveUsers, "deactivated", fail)
    dispatch(RegisterUser(id := uuid4(), "a@example.org", "A"))
    dispatch(DeactivateUser(id, "left"))
    assert retry.retry(LoginsOfInactiveUsers, f"user-{id}", by="ann")[0] == 0
    reacting.catch_up("users")
    [record] = failures(caplog)
    assert f"LoginsOfInactiveUsers cannot take event {store.event_at(2).event_id} at position 2" in record.message
    assert record.exc_info


def test_one_stream_waits_and_the_other_goes_on(poisoned: tuple[UUID, UUID]) -> None:
    bad, good = (User.objects.get(id=id) for id in poisoned)
    assert (bad.version, good.version) == (1, 3)
    lines = run("list").splitlines()
    assert [line.split("  ")[1:5:2] for line in lines] == [["position 2", "failed"], ["position 3", "waiting"]]


def test_a_retry_after_the_cure_takes_everything_in_by_order(
    poisoned: tuple[UUID, UUID], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(CommandError, match="failed again"):
        run("retry")
    assert DeadLetter.objects.get(position=2).attempts == 2
    monkeypatch.setattr(UserProjector, "renamed", HEALTHY)
    assert "2 taken in" in run("retry", "--projector", "UserProjector")
    assert (run("list"), projected()) == ("", folded())
    assert set(DeadLetter.objects.values_list("status", flat=True)) == {"retried"}
    dispatch(RenameUser(poisoned[0], "Better"))
    assert projected() == folded()


def test_each_act_is_on_record(poisoned: tuple[UUID, UUID], monkeypatch: pytest.MonkeyPatch) -> None:
    retry.retry(UserProjector, f"user-{poisoned[0]}", by="ann")
    retry.skip(UserProjector, 2, by="bob", reason="a bad name")
    retry.retry(UserProjector, f"user-{poisoned[0]}", by="cid")
    acts = [
        [(act["act"], act["by"], act.get("reason"), act.get("outcome")) for act in letter.acts]
        for letter in DeadLetter.objects.order_by("position")
    ]
    tried, left_out = ("retry", "ann", None, "ZeroDivisionError: poisoned"), ("skip", "bob", "a bad name", None)
    assert acts == [[tried, left_out], [("retry", "cid", None, "taken in")]]


def test_a_try_is_on_record_before_it_begins(poisoned: tuple[UUID, UUID], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(UserProjector, "renamed", end_the_process)
    with pytest.raises(ProcessEnds):
        retry.retry(UserProjector, f"user-{poisoned[0]}", by="ann")
    letter = DeadLetter.objects.get(position=2)
    assert (letter.status, letter.attempts, [act["by"] for act in letter.acts]) == ("failed", 2, ["ann"])


class ProcessEnds(BaseException):
    """Stands for a SIGKILL in the middle of a handler: no `except Exception` sees it. The journeys have a real one."""


def end_the_process(*arguments: object) -> None:
    raise ProcessEnds


def test_a_handler_that_ends_the_process_is_found_out_and_set_aside(
    worker_mode: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = [uuid4() for _ in range(3)]
    for id in ids:
        dispatch(RegisterUser(id, f"{id}@example.org", "A"))
        dispatch(RenameUser(id, "Bad" if id == ids[1] else "Good"))
    dispatch(ChangeEmail(ids[1], "later@example.org"))  # all of it comes in one batch

    def renamed(self: UserProjector, row: User, event: UserRenamed, recorded: Any) -> None:
        if event.name == "Bad":
            raise ProcessEnds
        HEALTHY(self, row, event, recorded)

    monkeypatch.setattr(UserProjector, "renamed", renamed)
    monkeypatch.setattr(claims, "GRACE", 0)
    for _ in range(1 + claims.LIMIT):  # the batch once, then the event itself
        with pytest.raises(ProcessEnds):
            projecting.catch_up("users")
    projecting.catch_up("users")
    assert list(User.objects.order_by("registered_at").values_list("name", "version")) == [
        ("Good", 2),
        ("A", 1),
        ("Good", 2),
    ]
    failed, waiting = DeadLetter.objects.all()
    assert (failed.position, failed.attempts, failed.error) == (4, 3, "ProcessEnded: 3 times")
    assert (waiting.position, waiting.status) == (7, "waiting")
    monkeypatch.setattr(UserProjector, "renamed", HEALTHY)
    assert retry.retry(UserProjector, f"user-{ids[1]}", by="ann") == (2, "")
    assert projected()["users"] == folded()["users"]


def test_an_attempt_that_was_cut_short_once_sets_nothing_aside(monkeypatch: pytest.MonkeyPatch) -> None:
    make_history(users=2, commands=20)
    Checkpoint.objects.update(position=0)
    User.objects.all().delete()
    monkeypatch.setattr(UserProjector, "renamed", end_the_process)
    with pytest.raises(ProcessEnds):
        projecting.catch_up("users", batch=5)
    monkeypatch.undo()
    projecting.catch_up("users", batch=5)
    checkpoint = Checkpoint.objects.get(name="UserProjector")
    assert (checkpoint.attempts, DeadLetter.objects.count()) == (0, 0)
    assert projected()["users"] == folded()["users"]


def test_a_reaction_that_ends_the_process_is_set_aside(monkeypatch: pytest.MonkeyPatch) -> None:
    dispatch(RegisterUser(bad := uuid4(), "bad@example.org", "A"))
    dispatch(RegisterUser(good := uuid4(), "good@example.org", "A"))
    healthy = LoginsOfInactiveUsers.deactivated
    monkeypatch.setattr(LoginsOfInactiveUsers, "deactivated", end_the_process)
    monkeypatch.setattr(reacting, "GRACE", 0)
    with pytest.raises(ProcessEnds):
        dispatch(DeactivateUser(bad, "left"))
    for _ in range(claims.LIMIT - 1):
        with pytest.raises(ProcessEnds):
            reacting.catch_up("users")
    monkeypatch.setattr(LoginsOfInactiveUsers, "deactivated", healthy)
    dispatch(DeactivateUser(good, "left"))
    letter = DeadLetter.objects.get()
    assert (letter.projector, letter.stream, letter.error) == (
        "LoginsOfInactiveUsers",
        f"user-{bad}",
        "ProcessEnded: 3 times",
    )


def test_of_a_thousand_streams_the_poisoned_one_waits_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    ids = [uuid4() for _ in range(1000)]
    bad = ids[500]
    with store.unit():
        for version, event in enumerate([UserRegistered("a@example.org", "A"), UserRenamed("B"), UserRenamed("C")]):
            for id in ids:
                store.append(f"user-{id}", [event], expected_version=version)
    taken: list[int] = []

    def renamed(self: UserProjector, row: User, event: UserRenamed, recorded: RecordedEvent) -> None:
        if row.pk == bad:
            taken.append(recorded.stream_version)
            if sick:
                raise ZeroDivisionError("poisoned")
        HEALTHY(self, row, event, recorded)

    monkeypatch.setattr(UserProjector, "renamed", renamed)
    sick = True
    projecting.catch_up("users")
    assert User.objects.filter(name="C", version=3).count() == 999
    assert [letter.status for letter in DeadLetter.objects.filter(stream=f"user-{bad}")] == ["failed", "waiting"]
    taken.clear()
    sick = False
    assert run("retry") == f"UserProjector  user-{bad}: 2 taken in\n"
    assert taken == [2, 3]
    assert projected()["users"] == folded()["users"]


def test_a_skipped_event_stays_out_also_in_a_replay(poisoned: tuple[UUID, UUID]) -> None:
    run("skip", "--projector", "UserProjector", "--position", "2", "--reason", "a bad name")
    assert "1 taken in" in run("retry")
    rows = projected()["users"]
    row = rows[str(poisoned[0])]
    assert (row["name"], row["email"], row["version"]) == ("A", "Bad@example.net", 3)
    rebuild.rebuild(UserProjector)
    assert projected()["users"] == rows
    letter = DeadLetter.objects.get(status="skipped")
    assert (letter.position, letter.reason, bool(letter.settled_by), bool(letter.settled_at)) == (
        2,
        "a bad name",
        True,
        True,
    )


def test_a_skip_needs_a_reason_and_something_to_skip(poisoned: tuple[UUID, UUID]) -> None:
    with pytest.raises(CommandError, match="must say why"):
        run("skip", "--projector", "UserProjector", "--position", "2", "--reason", " ")
    with pytest.raises(CommandError, match="nothing of UserProjector waits at position 99"):
        run("skip", "--projector", "UserProjector", "--position", "99", "--reason", "x")
    with pytest.raises(CommandError, match="there are"):
        run("retry", "--projector", "Nobody")


def test_the_admin_retries_and_skips_with_a_reason(poisoned: tuple[UUID, UUID]) -> None:
    client = Client()
    client.force_login(get_user_model().objects.create_superuser("admin"))
    failed, waiting = DeadLetter.objects.all()

    def act(action: str, letter: DeadLetter, **more: str) -> str:
        body = {"action": action, "_selected_action": [letter.pk], **more}
        return client.post("/admin/users/deadletter/", body, follow=True).content.decode()

    assert "0 taken in, then ZeroDivisionError: poisoned" in act("retry", failed)
    assert "Reason" in act("skip", failed)
    assert "Skip: 1 of 1 done" in act("skip", failed, reason="a joke")
    assert "Skip: 0 of 1 done" in act("skip", failed, reason="again")
    assert "1 taken in" in act("retry", waiting)
    failed.refresh_from_db()
    assert (failed.status, failed.settled_by, failed.reason) == ("skipped", "admin", "a joke")
    assert User.objects.get(id=poisoned[0]).email == "Bad@example.net"
