"""The API's edges: problems, the feed, the catalog, and who may see them."""

from typing import Any
from uuid import uuid4

import pytest
from django.contrib.auth import get_user_model
from django.db import connections
from django.test import Client

from apps.eventlog import store
from apps.eventlog.dispatch import dispatch
from apps.users.write.commands import RegisterUser, RenameUser
from tests.eventlog.events import Counted
from tests.support.api import Answer, Api


def test_a_method_that_is_not_there_is_a_problem_that_names_those_that_are(api: Api) -> None:
    response = Client().delete("/api/orders/", headers=api.staff.headers)
    assert response.status_code == 405
    assert set(response.headers["Allow"].split(", ")) >= {"GET", "POST"}
    assert response.headers["Content-Type"] == "application/problem+json"


def test_a_missing_slash_is_a_redirect_to_read_and_not_found_to_write(settings: Any) -> None:
    for settings.DEBUG in (False, True):
        assert Client().get("/api/orders").status_code == 301
        response = Client().post("/api/orders", "{}", content_type="application/json")
        assert (response.status_code, response.headers["Content-Type"]) == (404, "application/problem+json")


def test_a_fault_of_ours_is_a_problem_too(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    ann = api.customer()
    monkeypatch.setattr(store, "append", lambda *args, **kwargs: 1 / 0)
    answer = ann.post(f"users/{ann.user_id}/rename/", {"name": "Anna"})
    assert (answer.status, answer.headers["Content-Type"]) == (500, "application/problem+json")
    assert "ZeroDivisionError" not in str(answer.json)


def test_a_session_needs_the_csrf_token(api: Api) -> None:
    _ = api.staff
    client = Client(enforce_csrf_checks=True)
    client.force_login(login_of("admin"))
    assert client.get("/api/orders/").status_code == 200
    response = client.post("/api/users/", "{}", content_type="application/json")
    assert response.status_code == 403


def login_of(name: str) -> Any:
    return get_user_model().objects.get(username=name)


def test_the_feed_pages_by_position_and_filters(api: Api) -> None:
    staff, ids = api.staff, [uuid4(), uuid4()]
    for id in ids:
        dispatch(RegisterUser(id, f"{id}@example.org", "A"))
    dispatch(RenameUser(ids[0], "B"))
    store.append("thing-1", [Counted(1)], expected_version=0)
    everything = staff.get("events/")
    assert [event["position"] for event in everything["results"]] == [1, 2, 3, 4]
    assert everything["next"] is None
    first = staff.get("events/?limit=3")
    assert first["next"] == 3
    assert [event["position"] for event in staff.get("events/?limit=3&after=3")["results"]] == [4]
    assert len(staff.get(f"events/?stream=user-{ids[0]}")["results"]) == 2
    assert len(staff.get("events/?category=user")["results"]) == 3
    assert len(staff.get("events/?type=users.UserRenamed")["results"]) == 1
    correlation = everything["results"][2]["metadata"]["correlation_id"]
    assert len(staff.get(f"events/?correlation_id={correlation}")["results"]) == 1
    at = everything["results"][2]["recorded_at"]
    assert [event["position"] for event in staff.get(f"events/?until={at}")["results"]][:3] == [1, 2, 3]
    assert 3 in [event["position"] for event in staff.get(f"events/?since={at}")["results"]]
    names = {"position", "event_id", "stream", "stream_version", "type", "schema_version", "data", "metadata"}
    assert set(everything["results"][0]) == {*names, "recorded_at"}


def test_the_catalog_has_every_event_with_its_schema(api: Api) -> None:
    catalog = {entry["type"]: entry for entry in api.staff.get("events/catalog/")["results"]}
    assert {"orders.OrderPlaced", "users.UserRegistered", "users.UserReactivated"} <= set(catalog)
    placed = catalog["orders.OrderPlaced"]
    assert placed["schema_version"] == 1
    assert set(placed["schema"]["$defs"]["OrderPlaced"]["required"]) == {"customer_id", "currency", "lines"}
    cancelled = catalog["orders.OrderCancelled"]
    assert cancelled["schema_version"] == 3
    assert [version["schema_version"] for version in cancelled["versions"]] == [1, 2, 3]
    assert cancelled["versions"][0]["schema"]["required"] == ["reason"]
    assert cancelled["versions"][-1]["schema"] == cancelled["schema"]


def test_probes_answer() -> None:
    assert Client().get("/livez").status_code == 200
    assert Answer(Client().get("/readyz")).json == dict.fromkeys(connections, True)


@pytest.mark.parametrize("path", ["/livez", "/readyz"])
def test_probes_come_by_the_address_of_a_container_and_without_tls(path: str, settings: Any) -> None:
    settings.ALLOWED_HOSTS, settings.SECURE_SSL_REDIRECT = ["testserver"], True
    assert Client().get(path, headers={"Host": "10.0.0.7:8000"}).status_code == 200
    assert Client().get("/api/orders/").status_code == 301


@pytest.mark.parametrize("path", ["/", "/api/orders/", "/livez/"])
def test_another_host_is_refused_with_the_reason(path: str, settings: Any, caplog: pytest.LogCaptureFixture) -> None:
    settings.ALLOWED_HOSTS = ["testserver"]
    answer = Answer(Client().get(path, headers={"Host": "elsewhere.example"}))
    assert answer.status == 400
    assert "Host" in answer["detail"]
    assert not any(record.exc_info for record in caplog.records)
