"""An erasure takes effect although a projection has failed, and clears what the failure has left on record."""

import importlib
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.apps import apps
from django.db import connections
from django.utils import timezone

from apps.eventlog import store
from apps.eventlog.delivery import projecting, retry
from apps.eventlog.delivery.forgetting import forget_erased
from apps.eventlog.dispatch import dispatch
from apps.eventlog.events import ERASED
from apps.eventlog.models import DeadLetter, Job
from apps.eventlog.replay import rebuild
from apps.eventlog.replay.shadow_table import ShadowTable
from apps.eventlog.replay.verify_rows import verify
from apps.orders.models import Customer
from apps.orders.models import DeadLetter as OrdersDeadLetter
from apps.orders.read.projectors import CustomerProjector
from apps.users.events import UserRenamed
from apps.users.models import DeadLetter as UsersDeadLetter
from apps.users.models import User
from apps.users.read.projectors import UserProjector
from apps.users.write.commands import DeactivateUser, EraseUser, RegisterUser, RenameUser
from tests.eventlog.events import ParcelSent
from tests.support.fold import folded, projected

NAME = "Hipparchia"


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Nobody can be renamed; `undo()` mends it."""

    def renamed(self: Any, row: Any, event: UserRenamed, recorded: Any) -> None:
        raise ValueError(f"{event.name} is no name")

    for kind in (UserProjector, CustomerProjector):
        monkeypatch.setattr(kind, "renamed", renamed)
    return monkeypatch


@pytest.fixture
def person(failing: pytest.MonkeyPatch) -> UUID:
    """Somebody whose new name no projector could take."""
    dispatch(RegisterUser(id := uuid4(), "x@example.org", NAME))
    dispatch(RenameUser(id, f"{NAME} Married"))
    dispatch(DeactivateUser(id, f"{NAME} asked"))
    return id


def letters() -> list[DeadLetter]:
    return [*UsersDeadLetter.objects.order_by("position"), *OrdersDeadLetter.objects.order_by("position")]


def test_a_failure_is_kept_without_the_value(person: UUID) -> None:
    for failed, waiting in (UsersDeadLetter.objects.all(), OrdersDeadLetter.objects.all()):
        assert failed.error.startswith("ValueError: … is no name (tests/eventlog/delivery/test_forgetting.py, line ")
        assert (failed.status, waiting.status) == ("failed", "waiting")


def test_the_rows_forget_the_person_although_the_stream_waits(person: UUID, failing: pytest.MonkeyPatch) -> None:
    dispatch(EraseUser(person, "by letter"))
    assert (User.objects.get().name, User.objects.get().email, Customer.objects.get().name) == (ERASED,) * 3
    assert [letter.status for letter in letters()] == ["failed", "waiting", "waiting"] * 2
    rows = projected()
    rebuild.rebuild(UserProjector)
    assert projected()["users"] == rows["users"]  # a replay does the same
    assert verify(CustomerProjector) == []
    failing.undo()
    for kind in (UserProjector, CustomerProjector):
        assert retry.retry(kind, f"user-{person}", by="ann") == (3, "")
    assert projected() == folded()


def test_what_operators_and_errors_have_said_goes_with_the_person(person: UUID) -> None:
    other = uuid4()
    dispatch(RegisterUser(other, "o@example.org", "Other"))
    dispatch(RenameUser(other, "Others"))
    retry.retry(UserProjector, f"user-{person}", by="ann")
    retry.skip(CustomerProjector, 2, by="ann", reason=f"{NAME} is too long")
    UsersDeadLetter.objects.filter(position=2).update(error=f"IntegrityError: Failing row contains ({NAME})")
    dispatch(EraseUser(person, "by letter"))
    kept = list(UsersDeadLetter.objects.filter(stream=f"user-{other}").values())
    for letter in letters():
        assert NAME not in f"{letter.error}{letter.reason}{letter.acts}"
    failed = UsersDeadLetter.objects.get(position=2)
    assert (failed.error, failed.acts[0]["by"], failed.acts[0]["outcome"]) == (
        f"IntegrityError: {ERASED}",
        "ann",
        ERASED,
    )
    assert OrdersDeadLetter.objects.get(position=2).reason == ERASED
    assert list(UsersDeadLetter.objects.filter(stream=f"user-{other}").values()) == kept
    assert ERASED not in kept[0]["error"]


def test_dead_letters_of_events_that_name_the_person_are_cleared_too(person: UUID) -> None:
    store.append("parcel-1", [ParcelSent(person, f"{NAME}'s house"), ParcelSent(uuid4(), "far")], expected_version=0)
    mine, others = [recorded.position for recorded in store.read_stream("parcel-1")]
    for position in (mine, others):
        letter = {"projector": "Parcels", "stream": "parcel-1", "status": "failed", "error": f"KeyError: {position}"}
        OrdersDeadLetter.objects.create(position=position, **letter)
    dispatch(EraseUser(person, "by letter"))
    found = OrdersDeadLetter.objects.filter(projector="Parcels").order_by("position").values_list("error", flat=True)
    assert list(found) == [f"KeyError: {ERASED}", f"KeyError: {others}"]


def test_an_erasure_that_fails_itself_is_a_failure(person: UUID, failing: pytest.MonkeyPatch) -> None:
    failing.setattr(UserProjector, "erased", lambda *arguments: 1 / 0)
    dispatch(EraseUser(person, "by letter"))
    last = UsersDeadLetter.objects.order_by("position").last()
    assert (last.status, last.error.partition(" (")[0]) == ("failed", f"ZeroDivisionError: {ERASED}")


def test_an_event_that_erases_nobody_clears_nothing(person: UUID) -> None:
    before = [letter.error for letter in letters()]
    forget_erased("users", list(store.read_stream(f"user-{person}")))
    assert [letter.error for letter in letters()] == before


def shadows() -> list[str]:
    there = connections["users"].introspection.table_names()
    return [name for name in there if name == ShadowTable(User).name]


def test_an_erasure_drops_what_a_killed_rebuild_has_left() -> None:
    dispatch(RegisterUser(id := uuid4(), "x@example.org", NAME))
    ShadowTable(User).create()  # as of a process that was killed
    dispatch(EraseUser(id, "by letter"))
    assert shadows() == []


def test_a_rebuild_that_is_alive_keeps_its_tables_and_forgets_the_person_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    dispatch(RegisterUser(id := uuid4(), "x@example.org", NAME))
    switch = rebuild._switch

    def erase() -> None:
        dispatch(EraseUser(id, "by letter"))
        connections.close_all()

    def erase_first(*arguments: Any) -> None:
        with ThreadPoolExecutor(1) as another:
            another.submit(erase).result()
        assert shadows() != []
        switch(*arguments)

    monkeypatch.setattr(rebuild, "_switch", erase_first)
    rebuild.rebuild(UserProjector)
    assert (User.objects.get().name, shadows()) == (ERASED, [])
    assert projecting.behind("users") is False


def test_errors_from_before_keep_their_kind_alone(person: UUID) -> None:
    raw = f"IntegrityError: Failing row contains ({NAME})"
    acts = [{"act": "retry", "by": "ann", "outcome": raw}, {"act": "skip", "by": "bob", "reason": "too long"}]
    UsersDeadLetter.objects.filter(status="failed").update(error=raw, acts=acts)
    now = timezone.now()
    started = {"started_by": "x", "started_at": now, "beat_at": now, "projector": "UserProjector", "kind": "verify"}
    failed, done = (
        Job.objects.create(id=uuid4(), outcome=text, **started) for text in (f"Failed: {raw}", "1 differences")
    )
    with connections["eventlog"].schema_editor() as editor:
        importlib.import_module("apps.eventlog.migrations.0021_errors_without_values").clear(apps, editor)
    letter = UsersDeadLetter.objects.get(status="failed")
    assert (letter.error, letter.acts) == ("IntegrityError", [acts[0] | {"outcome": "IntegrityError"}, acts[1]])
    outcomes = dict(Job.objects.values_list("pk", "outcome"))
    assert outcomes == {failed.pk: "Failed: IntegrityError", done.pk: "1 differences"}
