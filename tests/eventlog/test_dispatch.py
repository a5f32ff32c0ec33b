"""Which request a command belongs to: its ids are in the answer, in the events and in every line that it leads to."""

import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.db import connections
from django.test import Client

from apps.eventlog import store
from apps.eventlog.commands import SYSTEM, Actor
from apps.eventlog.delivery import projecting, reacting
from apps.eventlog.dispatch import dispatch
from apps.eventlog.events import InvalidEvent, RecordedEvent
from apps.orders.events import OrderCancelled
from apps.users.models import User
from apps.users.write.commands import RegisterUser, RenameUser
from tests.support.api import PASSWORD, Api

TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
IDS = {"X_Request_ID": "req-1", "traceparent": TRACEPARENT}


@pytest.fixture
def written(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    with caplog.at_level(logging.INFO):
        yield caplog


def lines(written: pytest.LogCaptureFixture, about: str) -> list[dict[str, Any]]:
    """The fields of our own lines."""
    return [getattr(each, "fields", {}) for each in written.records if each.name == f"headrace.{about}"]


def newest() -> RecordedEvent:
    return store.event_at(store.head())


def test_the_ids_of_a_request_are_everywhere(api: Api, written: pytest.LogCaptureFixture) -> None:
    answer = api.staff.post("users/", {"email": "ann@example.org", "name": "Ann"}, **IDS)
    assert (answer.headers["X-Request-ID"], answer.headers["traceparent"]) == ("req-1", TRACEPARENT)
    metadata = newest().metadata
    assert (metadata["request_id"], metadata["traceparent"]) == ("req-1", TRACEPARENT)
    [command], [request] = lines(written, "command"), lines(written, "request")
    for line in (command, request):
        ids = {"request_id": "req-1", "traceparent": TRACEPARENT, "correlation_id": metadata["correlation_id"]}
        assert line.items() >= ids.items()
    assert command.items() >= {"command": "RegisterUser", "outcome": "ok", "position": 1}.items()
    assert request.items() >= {"method": "POST", "route": "/api/users/", "status": 201}.items()
    assert request["who"] == command["who"]
    assert request["ms"] >= command["ms"] > 0


def test_a_request_without_an_id_is_given_one(api: Api) -> None:
    answers = [api.get("orders/"), api.get("orders/"), api.get("nowhere/"), api.get("orders/", X_Request_ID="a\tb")]
    assert len({UUID(answer.headers["X-Request-ID"]) for answer in answers}) == 4
    assert "traceparent" not in answers[0].headers


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/", "/metrics", "/static/eventlog/live.css", "/admin/", "/%00"])
def test_every_answer_has_the_id(path: str) -> None:
    assert Client().get(path, headers={"X-Request-ID": "r-7"}).headers["X-Request-ID"] == "r-7"


def test_reactions_carry_the_ids_of_the_request_that_led_to_them(
    api: Api, worker_mode: None, written: pytest.LogCaptureFixture
) -> None:
    ann = api.customer()
    for service in ("users", "orders"):
        projecting.catch_up(service)
    ann.place()
    projecting.catch_up("orders")
    reacting.catch_up("orders")
    api.staff.post(f"users/{ann.user_id}/deactivate/", {"reason": "left"}, **IDS)
    cause = newest()
    written.clear()
    with ThreadPoolExecutor(1) as worker:  # as in another process, nothing of the request is at hand
        worker.submit(projecting.catch_up, "orders").result()
        worker.submit(reacting.catch_up, "orders").result()
        worker.submit(connections.close_all).result()
    effect = newest()
    assert isinstance(effect.event, OrderCancelled)
    for name in ("request_id", "traceparent", "correlation_id"):
        assert effect.metadata[name] == cause.metadata[name]
    assert effect.metadata["causation_id"] == str(cause.event_id)
    [line] = lines(written, "command")
    assert line.items() >= {"command": "CancelUnpaidOrder", "request_id": "req-1", "who": "system"}.items()


def test_a_line_says_who_by_an_id_and_where_by_a_pattern(api: Api, written: pytest.LogCaptureFixture) -> None:
    ann, staff = api.customer("ann.secret@example.org", "Ann Secret"), api.staff
    staff.post(f"users/{ann.user_id}/rename/", {"name": "Anna Secret"})
    staff.get("users/?email=ann.secret@example.org")
    staff.get("nowhere/ann.secret@example.org/")
    ann.get(f"users/{ann.user_id}/")
    browser = Client()
    browser.login(username="admin", password=PASSWORD)
    browser.get(f"/admin/users/user/{ann.user_id}/change/?x=secret")
    requests = lines(written, "request")
    assert {line["who"] for line in requests} >= {"nobody", ann.user_id}
    assert requests[-1]["who"].startswith("staff-")
    assert {line["route"] for line in requests} >= {
        "/api/users/<uuid:pk>/",
        "/api/users/<uuid:pk>/rename/",
        "unmatched",
    }
    assert requests[-1]["route"] == "/admin/users/user/<path:object_id>/change/"
    for record in written.records:
        said = f"{record.getMessage()} {getattr(record, 'fields', '')}".lower()
        assert "secret" not in said
        assert "admin'" not in said


def test_what_becomes_of_a_command_is_named(api: Api, written: pytest.LogCaptureFixture) -> None:
    staff = api.staff
    ann = staff.post("users/", {"email": "ann@example.org", "name": "Ann"})["id"]
    staff.post("users/", {"email": "ann@example.org", "name": "Other"})
    staff.post(f"users/{ann}/rename/", {"name": "Anna"}, If_Match='"9"')
    staff.post(f"users/{uuid4()}/rename/", {"name": "Anna"})
    found = [(line["command"], line["outcome"], line.get("error", "")) for line in lines(written, "command")]
    assert found == [
        ("RegisterUser", "ok", ""),
        ("RegisterUser", "refused", "Reserved"),
        ("RenameUser", "refused", "PreconditionFailed"),
        ("RenameUser", "refused", "NotFound"),
    ]


def test_a_caller_may_bring_a_correlation_id_and_metadata() -> None:
    user = uuid4()
    dispatch(
        RegisterUser(user, "ann@example.org", "Ann"), correlation_id="c" * 200, metadata={"batch": 7, "actor": "x"}
    )
    assert newest().metadata.items() >= {"correlation_id": "c" * 200, "batch": 7, "actor": "system"}.items()
    for id in ("c" * 201, "a\nb"):
        with pytest.raises(InvalidEvent, match="correlation_id"):
            dispatch(RenameUser(user, "Anna"), correlation_id=id)


def test_a_caller_that_waits_sees_the_rows_from_any_thread() -> None:
    user = uuid4()

    def work() -> str:
        dispatch(RegisterUser(user, "ann@example.org", "Ann"))
        name = User.objects.get(id=user).name
        connections.close_all()
        return name

    with ThreadPoolExecutor(1) as thread:
        assert thread.submit(work).result() == "Ann"


@pytest.mark.parametrize(
    ("actor", "pseudonym"),
    [
        (SYSTEM, "system"),
        (Actor.operator("anna"), "operator"),
        (Actor("anna@example.org", is_staff=True, key=7), "staff-7"),
        (Actor("anna@example.org"), "somebody"),
        (Actor.customer(UUID(int=5)), str(UUID(int=5))),
    ],
)
def test_a_pseudonym_is_no_name(actor: Actor, pseudonym: str) -> None:
    assert actor.pseudonym == pseudonym
