"""A person is forgotten: nothing readable stays, and everything else does."""

import json
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.auth import SESSION_KEY, get_user_model
from django.contrib.contenttypes.models import ContentType
from django.contrib.sessions.backends.db import SessionStore
from django.contrib.sessions.models import Session
from django.core.management import call_command
from django.db import DatabaseError, IntegrityError, connections, transaction
from django.test import Client
from django.utils import timezone

from apps.eventlog import erasures, store
from apps.eventlog.encryption import data_keys
from apps.eventlog.encryption.models import PersonalKey
from apps.eventlog.encryption.personal_fields import ERASED
from apps.eventlog.models import Erasure, IdempotencyRecord, Job, StoredEvent
from apps.eventlog.privacy import undone_erasures
from apps.eventlog.replay import jobs
from apps.eventlog.replay.verify_rows import Difference
from apps.users.events import UserErased, UserRegistered
from apps.users.models import User
from tests.support.api import PASSWORD, Api
from tests.support.erase import erase
from tests.support.fold import folded, projected

REASON = {"reason": "asked by letter"}


def stored_text() -> str:
    return json.dumps(list(StoredEvent.objects.values_list("data", flat=True)))


def test_personal_fields_stand_encrypted_in_the_log_and_are_read_in_the_clear(api: Api) -> None:
    ann = api.customer("ann@example.org", "Ann Unmistakable")
    assert "Ann" not in stored_text()
    [recorded] = store.read_stream(f"user-{ann.user_id}")
    assert recorded.event == UserRegistered("ann@example.org", "Ann Unmistakable")


def test_an_erased_person_is_nowhere_and_everything_else_stays(api: Api) -> None:
    ann, bob = api.customer("ann@example.org", "Ann"), api.customer("bob@example.org", "Bob")
    order, other = ann.place(), bob.place()
    assert ann.post(f"orders/{order}/pay/", {"payment_reference": "P"}).status == 202
    before = api.staff.pages("orders/summary/")
    erased = api.staff.post(f"users/{ann.user_id}/erase/", REASON)
    assert erased.status == 202
    document = api.staff.get(f"users/{ann.user_id}/").json
    assert (document["name"], document["email"], document["status"]) == (ERASED, ERASED, "inactive")
    assert api.staff.get(f"orders/{order}/")["customer_name"] == ERASED
    assert api.staff.get(f"orders/{other}/")["customer_name"] == "Bob"
    assert api.staff.pages("orders/summary/") == before
    assert api.staff.get(f"users/{ann.user_id}/?version=1")["name"] == ERASED
    feed = api.staff.get("events/?type=users.UserRegistered")["results"]
    assert [event["data"]["name"] for event in feed] == [ERASED, "Bob"]
    history = api.staff.get(f"users/{ann.user_id}/history/")["results"]
    assert history[0]["data"] == {"email": ERASED, "name": ERASED}
    assert ann.get("users/").status == 401
    assert api.post("auth/login/", {"username": "ann@example.org", "password": PASSWORD}).status == 401
    call_command("replay_events", "--no-progress")
    call_command("replay_events", "--verify", "--no-progress")
    assert projected() == folded()


def test_a_later_command_is_gone_and_the_address_is_free_again(api: Api) -> None:
    ann, staff = api.customer(), api.staff
    staff.post(f"users/{ann.user_id}/erase/", REASON)
    assert staff.post(f"users/{ann.user_id}/rename/", {"name": "Ann"}).status == 410
    assert staff.post(f"users/{ann.user_id}/reactivate/").status == 410
    assert staff.post(f"users/{ann.user_id}/erase/", REASON).status == 202
    assert len(list(store.read_all(types=[UserErased.type]))) == 1
    assert api.customer().user_id != ann.user_id


def test_one_erases_oneself_by_giving_the_password_again(api: Api) -> None:
    ann = api.customer()
    path = f"users/{ann.user_id}/erase/"
    assert ann.post(path).status == 400
    assert ann.post(path, {"reason": "x"}).status == 400
    assert ann.post(path, {"password": "wrong"}).status == 401
    assert api.customer("bob@example.org", "Bob").post(path, {"password": PASSWORD}).status == 404
    assert ann.post(path, {"password": PASSWORD}).status == 202
    assert ann.get(f"users/{ann.user_id}/").status == 401


def test_what_is_held_about_a_person_is_shown_to_them_with_its_source(api: Api) -> None:
    ann = api.customer("ann@example.org", "Ann")
    ann.place()
    held = ann.get(f"users/{ann.user_id}/personal-data/?limit=200")["results"]
    found = {(value["source"], value["field"], str(value["value"])) for value in held}
    assert {
        ("log", "email", "ann@example.org"), ("users_user", "name", "Ann"), ("orders_customer", "name", "Ann"),
        ("orders_order", "total", "25.00"), ("auth_user", "username", ann.user_id),
    } <= found  # fmt: skip
    assert api.customer("bob@example.org", "Bob").get(f"users/{ann.user_id}/personal-data/").status == 404


def test_a_login_goes_with_its_sessions_and_what_the_admin_has_said_of_it(api: Api, client: Client) -> None:
    ann, bob = api.customer("ann@example.org", "Ann"), api.customer("bob@example.org", "Bob")
    logins = get_user_model().objects
    root, mine = logins.create_superuser("root"), logins.get(username=ann.user_id)
    client.force_login(root)
    for login, name in ((mine, "Unmistakable"), (logins.get(username=bob.user_id), "Robert")):
        Client().force_login(login)
        old = SessionStore()
        old.update({SESSION_KEY: str(login.pk)})
        old.set_expiry(-1)  # it has ended, and nobody has cleared it yet
        old.save()
        of_login = ContentType.objects.get_for_model(login).pk
        LogEntry.objects.log_actions(root.pk, [login], CHANGE, change_message=f"to {name}", single_object=True)
        LogEntry.objects.filter(object_id=login.pk, content_type_id=of_login).update(object_repr=name)
    told = api.staff.pages(f"users/{ann.user_id}/personal-data/?limit=200")
    sources = {(each["source"], each["field"], str(each["value"])) for each in told}
    assert ("django_admin_log", "object_repr", "Unmistakable") in sources
    assert {"django_session", "knox_authtoken", "auth_user"} <= {source for source, *_ in sources}
    keys = set(Session.objects.values_list("pk", flat=True))
    assert not [each for each in told if keys & {each["where"], str(each["value"])}]  # a key opens its session
    api.staff.post(f"users/{ann.user_id}/erase/", REASON)
    left = {row.get_decoded().get(SESSION_KEY) for row in Session.objects.all()}
    assert str(mine.pk) not in left
    assert str(logins.get(username=bob.user_id).pk) in left
    lines = dict(LogEntry.objects.values_list("object_repr", "change_message"))
    assert (lines[ERASED], set(lines)) == ("", {ERASED, "Robert"})
    assert "Unmistakable" not in str(api.staff.pages(f"users/{ann.user_id}/personal-data/?limit=200"))


def test_what_a_job_found_in_the_rows_of_a_person_is_told_and_goes(api: Api) -> None:
    ann, bob = api.customer("ann@example.org", "Ann"), api.customer("bob@example.org", "Bob")
    User.objects.update(name="Forged")
    now = timezone.now()
    job = Job.objects.create(
        id=uuid4(), projector="UserProjector", kind="verify", started_by="x", started_at=now, beat_at=now
    )
    jobs.run(job)
    assert {key for _, key, _ in job.differences} == {ann.user_id, bob.user_id}
    told = ann.pages(f"users/{ann.user_id}/personal-data/?limit=200")
    found = [each["value"] for each in told if each["source"] == "eventlog_job"]
    assert found == [[["users_user", ann.user_id, "name"]]]
    api.staff.post(f"users/{ann.user_id}/erase/", REASON)
    job.refresh_from_db()
    assert job.differences == [["users_user", bob.user_id, "name"]]


def test_a_key_of_a_row_about_a_person_that_is_no_id_is_not_kept() -> None:
    about = {"users_user"}
    id = str(uuid4())
    keys = [
        jobs._kept(Difference("P", table, key, "f", 1, 2), about)[1]
        for table, key in (("users_user", "ann@example.org"), ("users_user", id), ("orders_ordersummary", "day EUR"))
    ]
    assert keys == ["…", id, "day EUR"]


def test_a_request_sent_again_after_the_erasure_registers_nobody(api: Api) -> None:
    own = {"email": "ann@example.org", "name": "Ann", "password": PASSWORD}
    first = api.post("users/", own, Idempotency_Key="k")
    person = first["id"]
    told = api.staff.pages(f"users/{person}/personal-data/?limit=200")
    assert "eventlog_idempotencyrecord" in {each["source"] for each in told}
    api.staff.post(f"users/{person}/erase/", REASON)
    assert IdempotencyRecord.objects.get().body_digest == ""
    assert api.post("users/", own, Idempotency_Key="k").json == first.json
    assert store.head() == 2


def test_the_command_finishes_what_a_worker_would_do_later(api: Api, worker_mode: None) -> None:
    ann = api.customer()
    call_command("erase_user", ann.user_id, "--reason", "by letter")
    assert erasures.is_carried_out(UUID(ann.user_id))
    assert projected() == folded()  # the copies of other services are erased too
    assert api.post("auth/login/", {"username": "ann@example.org", "password": PASSWORD}).status == 401


def test_the_admin_shows_the_event_of_an_erased_person_without_them(api: Api, client: Client) -> None:
    ann = api.customer()
    client.force_login(get_user_model().objects.create_superuser("root"))
    assert "ann@example.org" in client.get("/admin/eventlog/storedevent/1/change/").content.decode()
    chosen = {"action": "erase", "_selected_action": [ann.user_id], "reason": "by letter", "confirmed": ann.user_id}
    assert client.post("/admin/users/user/", chosen).status_code == 302
    page = client.get("/admin/eventlog/storedevent/1/change/").content.decode()
    assert ERASED in page
    assert "ann@example.org" not in page


def test_keys_are_rewrapped_and_an_unknown_key_encryption_key_harms_nothing(api: Api, settings: Any) -> None:
    ann, new = api.customer("ann@example.org", "Ann"), b"n" * 32
    old, settings.KEY_ENCRYPTION_KEY = settings.KEY_ENCRYPTION_KEY, new
    settings.PREVIOUS_KEY_ENCRYPTION_KEYS = [old]
    call_command("rotate_keys", "--no-progress")
    settings.PREVIOUS_KEY_ENCRYPTION_KEYS = []
    assert next(store.read_all()).data["name"] == "Ann"
    undone_erasures.require_done()
    settings.KEY_ENCRYPTION_KEY = old
    for call in (undone_erasures.require_done, lambda: store.event_at(1)):
        with pytest.raises(data_keys.WrongKey, match="set KEY_ENCRYPTION_KEY"):
            call()
    settings.KEY_ENCRYPTION_KEY = new
    assert api.staff.get(f"users/{ann.user_id}/history/")["results"][0]["data"]["name"] == "Ann"


def test_a_backup_of_the_keys_older_than_an_erasure_is_refused_until_it_is_erased_again(api: Api) -> None:
    ann = api.customer()
    backup = list(PersonalKey.objects.values())
    api.staff.post(f"users/{ann.user_id}/erase/", REASON)
    undone_erasures.require_done()
    erase("keys")
    PersonalKey.objects.bulk_create(PersonalKey(**row) for row in backup)
    with pytest.raises(undone_erasures.Undone, match="reapply_erasures"):
        undone_erasures.require_done()
    call_command("reapply_erasures")
    undone_erasures.require_done()
    assert not data_keys.find([UUID(ann.user_id)])


def test_an_append_repeated_with_its_event_ids_is_recognised(api: Api) -> None:
    stream, ids = f"user-{uuid4()}", [uuid4()]
    event = UserRegistered("ann@example.org", "Ann")
    first = store.append(stream, [event], expected_version=0, event_ids=ids)
    assert store.append(stream, [event], expected_version=0, event_ids=ids) == first
    with pytest.raises(store.EventIdTaken):
        store.append(stream, [UserRegistered("ann@example.org", "Anna")], expected_version=0, event_ids=ids)


@pytest.mark.parametrize("where", ["another's event", "no event", "beyond the log"])
def test_the_ledger_takes_an_erasure_only_at_an_event_of_its_person(api: Api, where: str) -> None:
    ann, bob = api.customer("ann@example.org", "Ann"), api.customer("bob@example.org", "Bob")
    [registered] = store.read_stream(f"user-{bob.user_id}")
    position = {"another's event": registered.position, "no event": 0, "beyond the log": 2**62}[where]
    with pytest.raises(IntegrityError, match="at an event of its person"):
        erasures.carry_out(UUID(ann.user_id), position)
    assert not Erasure.objects.exists()


def test_the_ledger_keeps_what_it_has(api: Api) -> None:
    ann = api.customer("ann@example.org", "Ann")
    order = ann.place()  # not of Ann's stream, but it names her
    [placed] = store.read_stream(f"order-{order}")
    erasures.carry_out(UUID(ann.user_id), placed.position)
    erasures.carry_out(UUID(ann.user_id), next(iter(store.read_stream(f"user-{ann.user_id}"))).position)
    statements = ["UPDATE eventlog_erasure SET position = 1", "DELETE FROM eventlog_erasure"]
    if connections["eventlog"].vendor == "postgresql":
        statements += ["TRUNCATE eventlog_erasure"]
    else:
        statements += ["REPLACE INTO eventlog_erasure SELECT subject, 1, carried_out_at FROM eventlog_erasure"]
    for statement in statements:
        with pytest.raises(DatabaseError, match=r"append-only|at an event"), transaction.atomic(using="eventlog"):
            connections["eventlog"].cursor().execute(statement)
    assert Erasure.objects.get().position == placed.position
