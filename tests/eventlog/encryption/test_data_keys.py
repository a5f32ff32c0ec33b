"""A data key is kept by the database itself, and one that is missing is never replaced."""

import json
from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.db import DatabaseError, connections, transaction
from django.test import Client
from django.test.utils import CaptureQueriesContext

from apps.eventlog import erasures, reservations, store
from apps.eventlog.aggregates import Erased
from apps.eventlog.encryption import data_keys
from apps.eventlog.encryption.models import PersonalKey
from apps.eventlog.models import Erasure, Reservation, StoredEvent
from apps.users.events import UserRegistered, UserRenamed
from apps.users.models import User
from tests.eventlog.events import ParcelSent
from tests.support.api import PASSWORD, Api
from tests.support.erase import forget_erasures, lifted
from tests.support.exported import import_documents

KEYS = connections[data_keys.ALIAS]
CARLA = ("carla@example.net", "Carla Önder")


def made(*subjects: UUID) -> None:
    data_keys.find_or_make(subjects, lambda _: False)


def lose(*subjects: UUID | str) -> list[dict[str, Any]]:
    """Take data keys away, as an older backup does; returns what was lost."""
    rows = PersonalKey.objects.filter(subject__in=subjects)
    lost = list(rows.values())
    with KEYS.cursor() as cursor, lifted(cursor):
        rows.delete()
    data_keys._recent.clear()
    return lost


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM keys_personalkey",
        "UPDATE keys_personalkey SET subject = {other}",
        "UPDATE keys_personalkey SET wrapped = {bytes}",
        "UPDATE keys_personalkey SET wrapped_by = 'another'",
        "UPDATE keys_personalkey SET wrapped = {bytes}, wrapped_by = 'another'",
        pytest.param("TRUNCATE keys_personalkey", marks=pytest.mark.postgres),
        pytest.param("TRUNCATE keys_personalkey CASCADE", marks=pytest.mark.postgres),
        pytest.param("REPLACE INTO keys_personalkey SELECT {again} FROM keys_personalkey", marks=pytest.mark.sqlite),
        pytest.param(
            "REPLACE INTO keys_personalkey (rowid, subject, wrapped_by, rewraps)"
            " SELECT rowid, {other}, '', 0 FROM keys_personalkey",
            marks=pytest.mark.sqlite,
        ),
        pytest.param("UPDATE OR REPLACE keys_personalkey SET rowid = rowid + 1", marks=pytest.mark.sqlite),
        pytest.param("INSERT OR IGNORE INTO keys_personalkey SELECT {again} FROM keys_personalkey",
                     marks=pytest.mark.sqlite),
    ],
)  # fmt: skip
def test_the_database_itself_refuses_to_lose_a_data_key(statement: str) -> None:
    made(uuid4(), uuid4())
    before = list(PersonalKey.objects.values())
    again = "subject, x'00', wrapped_by, 9, destroyed_at"
    other, raw = (f"'{uuid4()}'", "'\\x00'") if KEYS.vendor == "postgresql" else (f"'{uuid4().hex}'", "x'00'")
    with pytest.raises(DatabaseError, match="data keys are kept"), transaction.atomic(using="keys"):
        KEYS.cursor().execute(statement.format(again=again, other=other, bytes=raw))
    assert list(PersonalKey.objects.values()) == before


def test_a_data_key_can_be_destroyed_and_does_not_come_back() -> None:
    subject = uuid4()
    made(subject)
    [before] = PersonalKey.objects.values()
    data_keys.destroy(subject)
    data_keys.destroy(subject)
    assert (PersonalKey.objects.get().wrapped, data_keys.find([subject])) == (None, {})
    for rewraps in (0, 5):
        with pytest.raises(DatabaseError, match="does not come back"):
            PersonalKey.objects.update(**before | {"rewraps": rewraps})
    with pytest.raises(Erased):
        data_keys.find_or_make([subject], lambda _: True)


def test_a_key_is_made_only_if_nothing_is_encrypted_by_the_one_that_is_missing() -> None:
    subject = uuid4()
    with pytest.raises(data_keys.MissingKey, match=str(subject)):
        data_keys.find_or_make([subject], lambda _: True)
    assert not PersonalKey.objects.exists()

    def meanwhile(_: UUID) -> bool:
        """Another process makes the key, and encrypts by it, between the look for the key and that at the log."""
        made(subject)
        return True

    data_keys._recent.clear()
    key = data_keys.find_or_make([subject], meanwhile)[subject]
    assert data_keys.find([subject]) == {subject: key}


def register(id: UUID) -> None:
    store.append(f"user-{id}", [UserRegistered(*CARLA)], expected_version=0)


def send(id: UUID) -> None:
    store.append(f"parcel-{uuid4()}", [ParcelSent(id, "1 Quay Street")], expected_version=0)


@pytest.mark.parametrize(("first", "second"), [(register, send), (send, register), (send, send)])
def test_a_missing_key_is_noticed_by_the_own_stream_and_by_events_that_name_the_person(
    first: Callable[[UUID], None], second: Callable[[UUID], None]
) -> None:
    carla, dora = uuid4(), uuid4()
    first(carla)
    lose(carla)
    with pytest.raises(data_keys.MissingKey):
        second(carla)
    second(dora)
    assert not data_keys.is_known(carla)
    assert store.has_encrypted(carla)
    assert not store.has_encrypted(uuid4())


def test_events_from_before_a_field_was_marked_are_in_nobodys_way() -> None:
    carla = uuid4()
    recorded = {"position": 1, "event_id": uuid4(), "stream": f"user-{carla}", "stream_version": 1, "metadata": {}}
    kind = {"type": UserRegistered.type, "schema_version": 1, "data": {"email": CARLA[0], "name": CARLA[1]}}
    store.append("thing-1", [ParcelSent(uuid4(), "x")], expected_version=0)
    at = next(store.read_all()).recorded_at
    import_documents([recorded | kind | {"position": 2, "recorded_at": at}])
    store.append(f"user-{carla}", [UserRenamed("Carla Berg")], expected_version=1)
    assert [recorded.data["name"] for recorded in store.read_stream(f"user-{carla}")] == [CARLA[1], "Carla Berg"]


def test_commands_about_a_person_without_their_key_are_answered_503_until_it_is_back(api: Api) -> None:
    carla, events = api.customer(*CARLA), StoredEvent.objects.count
    before, lost = events(), lose(carla.user_id)
    for verb, body in (
        ("rename", {"name": "Carla Berg"}),
        ("change-email", {"email": "carla@example.com"}),
        ("deactivate", {"reason": "left"}),
    ):
        answer = api.staff.post(f"users/{carla.user_id}/{verb}/", body)
        assert (answer.status, answer.headers["Retry-After"]) == (503, "60")
        assert f"the data key of {carla.user_id} is missing" in answer["detail"]
    assert (events(), data_keys.is_known(UUID(carla.user_id))) == (before, False)
    api.customer("dora@example.net", "Dora")  # nobody else is kept from anything
    PersonalKey.objects.create(**lost[0])
    assert api.staff.post(f"users/{carla.user_id}/rename/", {"name": "Carla Berg"}).status == 202
    history = api.staff.get(f"users/{carla.user_id}/history/")["results"]
    assert [event["data"]["name"] for event in history] == [CARLA[1], "Carla Berg"]


@pytest.mark.parametrize("all_keys", [False, True])
def test_a_person_without_a_key_can_be_erased(api: Api, all_keys: bool) -> None:
    carla = api.customer(*CARLA)
    lose(carla.user_id, *([data_keys.INSTALLATION] if all_keys else []))
    assert api.staff.post(f"users/{carla.user_id}/erase/", {"reason": "by letter"}).status == 202
    id = UUID(carla.user_id)
    assert erasures.is_carried_out(id)
    assert PersonalKey.objects.get(subject=id).destroyed_at
    assert Erasure.objects.filter(subject=id).exists()
    assert not Reservation.objects.exists()
    assert User.objects.get(id=id).name == "[erased]"
    assert api.staff.post(f"users/{id}/rename/", {"name": "Carla"}).status == 410
    assert api.customer(*CARLA).user_id != carla.user_id


def test_an_erased_person_whose_key_never_was_here_is_gone_and_not_missing(api: Api) -> None:
    carla = api.customer(*CARLA)
    api.staff.post(f"users/{carla.user_id}/erase/", {"reason": "by letter"})
    lose(carla.user_id)
    assert api.staff.post(f"users/{carla.user_id}/rename/", {"name": "Carla"}).status == 410
    forget_erasures()
    assert api.staff.post(f"users/{carla.user_id}/rename/", {"name": "Carla"}).status == 410


def test_the_installations_own_key_is_not_replaced_while_addresses_are_reserved_by_it(api: Api) -> None:
    api.customer(*CARLA)
    lost = lose(data_keys.INSTALLATION)
    body = {"email": "dora@example.net", "name": "Dora", "password": PASSWORD}
    answer = api.staff.post("users/", body)
    assert (answer.status, "this installation is missing" in answer["detail"]) == (503, True)
    login = {"username": CARLA[0], "password": PASSWORD}
    assert api.post("auth/login/", login).status == 503
    assert Client().post("/admin/login/", {"username": "nobody", "password": "wrong"}).status_code == 200
    PersonalKey.objects.create(**lost[0])
    assert api.post("auth/login/", login).status == 200
    assert api.staff.post("users/", body).status == 201


def test_looking_for_a_holder_makes_no_key(api: Api) -> None:
    assert reservations.reserved_by("users.email", CARLA[0]) is None
    assert api.post("auth/login/", {"username": CARLA[0], "password": PASSWORD}).status == 401
    assert not PersonalKey.objects.exists()


def test_the_log_is_asked_only_before_a_key_is_made() -> None:
    id, log = uuid4(), connections["eventlog"]

    def looks() -> int:
        return sum("LIKE" in query["sql"] for query in captured.captured_queries)

    with CaptureQueriesContext(log) as captured:
        register(id)
    assert looks() == 1
    for forgotten in (False, True):
        if forgotten:
            data_keys._recent.clear()
        with CaptureQueriesContext(log) as captured:
            version = StoredEvent.objects.filter(stream=f"user-{id}").count()
            store.append(f"user-{id}", [UserRenamed("Carla")], expected_version=version)
        assert looks() == 0


def test_what_is_sealed_is_found_in_either_form_of_the_json() -> None:
    id = uuid4()
    register(id)
    stored = json.dumps(StoredEvent.objects.get().data)
    assert str(id) in stored
    assert store.has_encrypted(id)


@pytest.mark.direct
def test_keys_are_on_disk_before_anything_is_encrypted_by_them() -> None:
    asked = (
        ["SHOW synchronous_commit"] if KEYS.vendor == "postgresql" else ["PRAGMA synchronous", "PRAGMA secure_delete"]
    )

    def care(alias: str) -> list[Any]:
        with connections[alias].cursor() as cursor:
            return [cursor.execute(statement).fetchone()[0] for statement in asked]

    assert care("keys") == care("eventlog")
    assert care("keys") != care("users") == care("orders")
    assert care("keys") in (["on"], [2, 1])
