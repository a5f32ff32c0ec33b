"""The log is put back to an older state and goes on: readers are right, or stop and say so; one replay repairs."""

import os
import random
import signal
from collections.abc import Iterator
from contextlib import suppress
from decimal import Decimal
from io import StringIO
from itertools import pairwise
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.core.management import CommandError, call_command
from django.db import Error, connections
from django.test import override_settings
from django.utils import timezone

from apps.eventlog import store
from apps.eventlog.delivery import checkpoints, identity, projecting, reacting, trail
from apps.eventlog.delivery.trail import Mark
from apps.eventlog.dispatch import dispatch
from apps.eventlog.events import Place
from apps.eventlog.models import DeadLetter, IdempotencyRecord
from apps.eventlog.projectors import Projector, services
from apps.eventlog.reactors import Reactor
from apps.orders.events import OrderLine
from apps.orders.models import Checkpoint as OrdersCheckpoint
from apps.orders.models import Order
from apps.users.events import UserRegistered, UserRenamed
from apps.users.models import Checkpoint, User
from apps.users.models import DeadLetter as UsersDeadLetter
from apps.users.write.commands import DeactivateUser, RegisterUser, RenameUser
from tests.support.api import Api
from tests.support.erase import erase
from tests.support.fold import folded, projected
from tests.support.history import make_history
from tests.support.older_log import SavedLog, save_log

ROWS = [
    ("users", "UserProjector", "users"),
    ("orders", "OrderProjector", "orders"),
    ("orders", "CustomerProjector", "customers"),
    ("orders", "SummaryProjector", "summary"),
]


class Diary(Reactor):
    """Notes the id of each event that it is given, in the order in which it was."""

    seen: list[UUID] = []

    def react(self, recorded: Any) -> None:
        Diary.seen.append(recorded.event_id)


del Reactor.registry["Diary"]  # for these tests alone
Diary.service, Diary.methods = "users", {UserRegistered: "react", UserRenamed: "react"}


@pytest.fixture
def diary(monkeypatch: pytest.MonkeyPatch) -> type[Diary]:
    monkeypatch.setitem(Reactor.registry, "Diary", Diary)
    Diary.seen = []
    return Diary


@pytest.fixture
def saved() -> Iterator[list[SavedLog]]:
    """Older states of the log, from the oldest on."""
    states: list[SavedLog] = []
    yield states
    for state in states:
        state.forget()


def register(number: int) -> UUID:
    id = uuid4()
    dispatch(RegisterUser(id, f"{number}-{id}@example.org", f"User {number}"))
    return id


def start_everything() -> None:
    for service in services() * 2:
        projecting.catch_up(service)
        reacting.catch_up(service)


def put_back_and_go_on(saved: list[SavedLog], events: int) -> None:
    """Three users; then, in a log that is put back to the first of them, so many others."""
    register(1)
    saved.append(save_log())
    register(2)
    register(3)
    saved[0].put_back()
    for number in range(events):
        register(10 + number)
    start_everything()


def replay(**options: Any) -> None:
    call_command("replay_events", no_progress=True, stdout=StringIO(), **options)


def history(chance: random.Random, seed: int, users: int, commands: int) -> None:
    """Some history whose rows follow at once, or later."""
    with override_settings(PROJECTIONS=chance.choice(["inline", "inline", "worker"])):
        make_history(users=users, commands=commands, seed=seed)


def drill(seed: int, saved: list[SavedLog]) -> None:
    """Any history, put back to any of its states; then it goes on, and everything is started."""
    chance = random.Random(seed)
    for alias in connections:
        erase(alias)
    identity._stopped.clear()
    Diary.seen = []
    for part in range(chance.randint(2, 4)):
        history(chance, 100 * seed + part, chance.randint(1, 2), chance.randint(1, 14))
        saved.append(save_log())
        if chance.random() < 0.5:
            start_everything()
    history(chance, 100 * seed + 50, 1, chance.randint(0, 10))
    if chance.random() < 0.8:
        start_everything()
    chance.choice(saved).put_back()
    if chance.random() < 0.5:
        start_everything()
    history(chance, 100 * seed + 60, chance.randint(1, 3), chance.randint(0, 40))
    start_everything()
    assert_right_or_stopped()
    replay()
    start_everything()
    assert [name for service in services() for name in identity.went_back(service)] == []
    assert projected() == folded()
    assert_all_is_answered()


def assert_right_or_stopped() -> None:
    stopped = {service: identity.stopped(service) for service in services()}
    assert stopped == {service: sorted(identity.went_back(service)) for service in services()}
    rows, by_log = projected(), folded()
    for service, name, table in ROWS:
        assert name in stopped[service] or rows[table] == by_log[table], f"{name} is wrong and does not say so"


def assert_all_is_answered() -> None:
    taken = [recorded.event_id for recorded in store.read_all(types=[kind.type for kind in Diary.methods])]
    assert set(taken) <= set(Diary.seen), "the reactor has skipped events"
    inactive = User.objects.filter(status="inactive").values_list("id", flat=True)
    assert not Order.objects.filter(status="placed", customer_id__in=list(inactive)).exists()


SEEDS = int(os.environ.get("SEEDS", "3"))


@pytest.mark.parametrize("seed", range(SEEDS))
def test_whoever_reads_is_right_or_stops_and_one_replay_repairs(seed: int, saved: list[SavedLog], diary: Any) -> None:
    drill(seed, saved)


@pytest.mark.nightly
def test_two_hundred_logs_that_went_back(diary: Any) -> None:
    for seed in range(1000, 1200):
        states: list[SavedLog] = []
        try:
            drill(seed, states)
        except Exception as error:
            raise AssertionError(f"seed {seed}") from error
        finally:
            for state in states:
                state.forget()


@pytest.mark.parametrize("blind", ["projectors", "reactors"])
def test_the_drill_finds_readers_that_compare_positions_alone(
    blind: str, saved: list[SavedLog], diary: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forget_event(*row: Any, recorded: Any = checkpoints.recorded) -> Any:
        name, reached = recorded(*row)
        mine = (name in Reactor.registry) == (blind == "reactors")
        return name, checkpoints.Reached(reached.position, Place(reached.position)) if mine else reached

    def found(seed: int) -> bool:
        with suppress(AssertionError):
            drill(seed, saved)
            return False
        return True

    monkeypatch.setattr(checkpoints, "recorded", forget_event)
    assert any(found(seed) for seed in range(20))


def test_a_log_that_is_shorter_than_the_rows_is_found(saved: list[SavedLog], caplog: pytest.LogCaptureFixture) -> None:
    put_back_and_go_on(saved, 0)
    assert identity.stopped("users") == ["UserProjector"]
    start_everything()
    [record] = [each for each in caplog.records if "UserProjector of users" in each.message]
    assert f"at position 3 it had event {Checkpoint.objects.get(name='UserProjector').event_id}" in record.message
    assert "now has no event" in record.message


@pytest.mark.parametrize("events", [1, 2, 9])
def test_another_event_at_the_checkpoint_is_found_however_long_the_log_is(saved: list[SavedLog], events: int) -> None:
    put_back_and_go_on(saved, events)
    assert identity.stopped("users") == ["UserProjector"]
    assert identity.stopped("orders") == ["CustomerProjector", "OrderProjector", "SummaryProjector"]
    assert sorted(User.objects.values_list("name", flat=True)) == ["User 1", "User 2", "User 3"]  # as they were
    replay()
    assert identity.went_back("users") == identity.went_back("orders") == []
    assert projected() == folded()
    register(99)
    assert projected() == folded()


def test_the_right_backup_lets_everybody_go_on(saved: list[SavedLog]) -> None:
    register(1)
    saved.append(save_log())
    register(2)
    saved.append(save_log())
    saved[0].put_back()
    start_everything()
    assert identity.stopped("users") == ["UserProjector"]
    saved[1].put_back()
    start_everything()
    assert identity.stopped("users") == []
    assert projected() == folded()


def test_one_projector_is_repaired_and_the_others_still_stop(saved: list[SavedLog]) -> None:
    put_back_and_go_on(saved, 4)
    replay(projector="OrderProjector")
    start_everything()
    assert identity.stopped("orders") == ["CustomerProjector", "SummaryProjector"]
    assert identity.stopped("users") == ["UserProjector"]
    replay(service="orders")
    assert identity.went_back("orders") == []


@pytest.mark.parametrize("events", [0, 1, 6])
def test_verify_reports_the_checkpoint_and_the_rows_of_another_log(saved: list[SavedLog], events: int) -> None:
    put_back_and_go_on(saved, events)
    out = StringIO()
    with pytest.raises(CommandError, match="differences"):
        call_command("replay_events", verify=True, no_progress=True, stdout=out)
    assert "users_checkpoint UserProjector at position 3 event_id: live" in out.getvalue()
    assert "log (no such row)" in out.getvalue()
    replay()
    call_command("replay_events", verify=True, no_progress=True, stdout=StringIO())


def test_the_answer_to_an_event_is_given_again_if_the_log_lost_it(saved: list[SavedLog], diary: Any) -> None:
    """The event is still there, and its reaction was appended beyond the state that was put back."""
    person = register(1)
    from apps.orders.write.commands import PlaceOrder

    order = uuid4()
    dispatch(PlaceOrder(order, person, "EUR", (OrderLine("A-1", 1, Decimal("1.00")),)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reacting, "catch_up", lambda *args, **options: None)
        dispatch(DeactivateUser(person, "left"))
    saved.append(save_log())
    start_everything()
    assert Order.objects.get(id=order).status == "cancelled"
    saved[0].put_back()
    start_everything()
    assert "CancelOrdersOfInactiveCustomers" in identity.stopped("orders")
    replay()
    assert Order.objects.get(id=order).status == "cancelled"
    assert projected() == folded()


def test_a_reactor_goes_back_along_its_trail_and_not_to_the_beginning(saved: list[SavedLog], diary: Any) -> None:
    for number in range(60):
        register(number)
    saved.append(save_log())
    for number in range(5):
        register(100 + number)
    saved[0].put_back()
    before = len(Diary.seen)
    register(200)
    assert len(Diary.seen) == before
    replay()
    assert 2 <= len(Diary.seen) - before <= 16
    assert_all_is_answered()


def test_a_trail_is_short_and_reaches_far() -> None:
    marks: list[Mark] = []
    for position in range(1, 20_001):
        marks = trail.extended(marks, Mark.of(position, Place(position, UUID(int=position))))
    distances = [20_000 - mark.position for mark in marks]
    assert len(marks) <= 40
    assert distances[:3] == [0, 1, 2]
    assert distances[-1] >= 19_000
    assert all(far <= 2 * near + 2 for near, far in pairwise(distances))
    assert trail.read(trail.written(marks)) == marks


def test_a_skipped_event_that_is_gone_keeps_no_other_out(saved: list[SavedLog]) -> None:
    register(1)
    saved.append(save_log())
    dispatch(RenameUser(User.objects.get().id, "Ann"))
    old = store.event_at(2)
    UsersDeadLetter.objects.create(
        projector="UserProjector",
        stream=old.stream,
        position=2,
        event_id=old.event_id,
        status=DeadLetter.Status.SKIPPED,
    )
    saved[0].put_back()
    register(2)
    replay()
    assert sorted(User.objects.values_list("name", flat=True)) == ["User 1", "User 2"]


def test_a_checkpoint_from_before_is_given_the_id_of_its_event(diary: Any) -> None:
    register(1)
    Checkpoint.objects.update(event_id=None, event_position=0, trail=None)
    start_everything()
    for name in ("UserProjector", "Diary"):
        checkpoint = Checkpoint.objects.get(name=name)
        assert (checkpoint.event_position, checkpoint.event_id) == (1, store.event_at(1).event_id)


@pytest.mark.parametrize("model", [Checkpoint, OrdersCheckpoint])
def test_older_code_that_knows_no_place_moves_no_checkpoint(model: Any) -> None:
    register(1)
    for moves in ({"position": 99}, {"position": 99, "updated_at": timezone.now()}):
        with pytest.raises(Error, match="an older version of the code may not follow the log"):
            model.objects.update(**moves)
    model.objects.update(position=0, attempts=1)  # back, for a test or by hand
    register(2)
    projectors = model.objects.filter(name__in=Projector.registry)
    assert set(projectors.values_list("position", "event_position")) == {(2, 2)}
    assert projected() == folded()


def test_the_worker_ends_with_an_error(saved: list[SavedLog]) -> None:
    put_back_and_go_on(saved, 5)
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    for options in ({"once": True}, {}):
        with pytest.raises(CommandError, match="UserProjector of users"):
            call_command("run_projectors", stdout=StringIO(), stderr=StringIO(), **options)
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == handlers


def test_queries_say_so_and_do_not_pass_for_fresh(saved: list[SavedLog], api: Api) -> None:
    put_back_and_go_on(saved, 5)
    staff = api.staff
    answer = staff.get("users/")
    assert (answer.status, answer.headers["Read-Model"]) == (200, "log-went-back")
    stale = staff.get("users/", Min_Event_Position="2")
    assert (stale.status, stale.headers["Read-Model"]) == (503, "log-went-back")
    assert "the log went back" in stale["detail"]
    ready = staff.client.get("/readyz")
    assert (ready.status_code, ready.json()["users"], ready.json()["eventlog"]) == (503, "log_went_back", True)
    status = staff.get("events/status/")
    assert {each["name"] for each in status["projectors"] if each["log_went_back"]} >= {"UserProjector"}
    assert status["identity"] == str(store.event_at(1).event_id)
    replay()
    identity._stopped.clear()
    assert "Read-Model" not in staff.get("users/").headers
    assert staff.client.get("/readyz").status_code == 200


def test_the_feed_knows_a_place_by_its_event(saved: list[SavedLog], api: Api) -> None:
    register(1)
    saved.append(save_log())
    register(2)
    first, second = (f"{recorded.position}@{recorded.event_id}" for recorded in store.read_all())
    saved[0].put_back()
    for number in range(3):
        register(10 + number)
    staff = api.staff
    assert [event["position"] for event in staff.get(f"events/?after={first}")["results"]] == [2, 3, 4]
    assert staff.get(f"events/?after={second}").status == 409
    assert staff.get(f"events/?after=9@{uuid4()}").status == 409
    assert staff.get("events/?after=2@nonsense").status == 400


def test_an_answer_whose_event_is_gone_is_not_given_again(api: Api) -> None:
    body = {"email": "ann@example.org", "name": "Ann", "password": "correct horse battery"}
    first = api.post("users/", body, Idempotency_Key="k")
    assert api.post("users/", body, Idempotency_Key="k").json == first.json
    IdempotencyRecord.objects.update(position=first["position"] + 1)
    body["email"] = "other@example.org"
    again = api.post("users/", body, Idempotency_Key="k")
    assert (again.status, again["position"]) == (201, first["position"] + 1)
    assert api.post("users/", body, Idempotency_Key="k").json == again.json
