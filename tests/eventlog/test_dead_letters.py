"""Dead letters: retried in order, or skipped with a reason, which replays respect."""

from io import StringIO
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.core.management import CommandError, call_command

from apps.eventlog import rebuild
from apps.eventlog.dispatch import dispatch
from apps.users.events import UserRenamed
from apps.users.models import DeadLetter, User
from apps.users.read.projectors import UserProjector
from apps.users.write.commands import ChangeEmail, RegisterUser, RenameUser
from tests.fold import folded, projected

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
