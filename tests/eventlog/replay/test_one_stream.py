"""`replay_events --stream`: the row of one stream is rebuilt or checked, and nothing else."""

from io import StringIO
from typing import Any
from uuid import uuid4

import pytest
from django.core.management import CommandError, call_command

from apps.eventlog import store
from apps.eventlog.delivery import projecting
from apps.eventlog.delivery.dead_letters import open_dead_letters
from apps.eventlog.models import DeadLetter
from apps.orders.models import Customer, Order
from apps.users.events import UserRenamed
from apps.users.models import User
from tests.support import older_log
from tests.support.fold import folded, projected
from tests.support.history import make_history


def run(stream: str, *arguments: str) -> str:
    out = StringIO()
    call_command("replay_events", "--stream", stream, "--no-progress", *arguments, stdout=out, stderr=out)
    return out.getvalue()


def damage(order: Order) -> None:
    Order.objects.filter(pk=order.pk).update(status="odd", currency="OLD", version=99)


def test_the_row_of_a_stream_is_as_the_log_says_and_other_rows_are_left_alone() -> None:
    make_history()
    one, other = Order.objects.order_by("pk")[:2]
    damage(one)
    damage(other)
    output = run(f"order-{str(one.pk).upper()}")
    assert "OrderProjector:" in output
    assert list(Order.objects.filter(status="odd")) == [other]
    run(f"order-{other.pk}")
    assert projected() == folded()


def test_a_row_that_is_missing_comes_back_in_every_service_that_has_one() -> None:
    make_history()
    user = User.objects.earliest("pk")
    User.objects.filter(pk=user.pk).delete()
    Customer.objects.filter(pk=user.pk).update(name="damaged")
    output = run(f"user-{user.pk}")
    assert ("UserProjector" in output, "CustomerProjector" in output) == (True, True)
    assert projected() == folded()


def test_verify_reports_the_differences_of_one_row_and_changes_nothing() -> None:
    make_history()
    one, other = Order.objects.order_by("pk")[:2]
    damage(one)
    damage(other)
    out = StringIO()
    with pytest.raises(CommandError, match="3 differences"):
        call_command("replay_events", "--verify", "--stream", f"order-{one.pk}", stdout=out)
    assert out.getvalue().count(str(one.pk)) == 3
    assert str(other.pk) not in out.getvalue()
    assert Order.objects.get(pk=one.pk).currency == "OLD"
    run(f"order-{one.pk}")
    assert "as the log says" in run(f"order-{one.pk}", "--verify")
    Order.objects.filter(pk=one.pk).delete()
    with pytest.raises(CommandError, match="1 differences"):
        run(f"order-{one.pk}", "--verify")


@pytest.mark.parametrize("skipped", [1, 2])
def test_dead_letters_of_the_stream_are_gone_and_skipped_events_stay_out(
    monkeypatch: pytest.MonkeyPatch, skipped: int, worker_mode: None
) -> None:
    make_history(users=1, commands=0)
    [user] = [recorded.stream for recorded in store.read_all()]
    with monkeypatch.context() as patch:
        patch.setattr(User, "__init__", refuse)
        projecting.catch_up("users")
        with pytest.raises(CommandError, match="its row stays as it is: ValueError: no rows today"):
            run(user, "--service", "users")
    letters = open_dead_letters("users")
    assert letters.count() == 1
    if skipped == 2:
        letters.update(status=DeadLetter.Status.SKIPPED)
    run(user, "--service", "users")
    assert (letters.count(), User.objects.count()) == (0, 2 - skipped)


def refuse(self: Any, *args: Any, **kwargs: Any) -> None:
    raise ValueError("no rows today")


def test_events_that_are_not_projected_yet_come_afterwards_and_once(worker_mode: None) -> None:
    make_history(users=2, commands=0)
    projecting.catch_up("users")
    user = User.objects.earliest("pk")
    store.append(f"user-{user.pk}", [UserRenamed("Later")], expected_version=1)
    User.objects.filter(pk=user.pk).update(name="damaged")
    run(f"user-{user.pk}", "--service", "users")
    projecting.catch_up("users")
    assert User.objects.get(pk=user.pk).name == "Later"


def test_what_cannot_be_rebuilt_by_stream_is_said() -> None:
    make_history(users=1, commands=3)
    order = Order.objects.earliest("pk")
    for stream, arguments, why in [
        (f"order-{uuid4()}", [], "the log has no stream"),
        (f"order-{order.pk}", ["--projector", "SummaryProjector"], "SummaryProjector has no row for each stream"),
        (f"order-{order.pk}", ["--service", "users"], "UserProjector has no row for each stream of 'order'"),
        ("thing-1", [], "no projector has a row for each stream of 'thing'"),
        (f"order-{order.pk}", ["--until", "3", "--into", "then"], "does not go with --until"),
    ]:
        with pytest.raises(CommandError, match=why):
            run(stream, *arguments)


def test_after_the_log_went_back_a_single_row_is_not_rebuilt() -> None:
    make_history(users=1, commands=0)
    saved = older_log.save_log()
    make_history(users=1, commands=0, seed=2)
    user = User.objects.earliest("pk")
    saved.put_back()
    saved.forget()
    with pytest.raises(CommandError, match="the log went back"):
        run(f"user-{user.pk}")
