"""Events go to a real NATS JetStream once and in order, whatever is wrong on either side."""

import shutil
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.core.management.base import CommandError
from django.test import Client
from nats.js.api import RetentionPolicy

from apps.eventlog import store
from apps.eventlog.events import DomainEvent
from apps.eventlog.relay import cloud_events
from tests.eventlog.events import Counted, ParcelSent
from tests.eventlog.relay.conftest import Bench
from tests.support import jetstream, older_log
from tests.support.api import Api
from tests.support.exported import document, import_documents, run
from tests.support.history import make_history
from tests.support.jetstream import Received, messages
from tools import nats_server


def append(number: int, stream: str = "") -> None:
    store.append(stream or f"thing-{uuid4()}", [Counted(number)], expected_version=store.ANY)


def in_log(**conditions: Any) -> list[int]:
    return [recorded.position for recorded in store.read_all(**conditions)]


def in_stream(bench: Bench) -> list[int]:
    return [each.position for each in messages(bench.url, bench.stream)]


def as_in_feed(api: Api) -> list[dict[str, Any]]:
    """The documents of the feed, without personal fields."""
    found = api.staff.get("events/?limit=1000").json["results"]
    for each in found:
        for field in DomainEvent.types[each["type"]].personal:
            each["data"].pop(field, None)
    return found


def test_each_event_is_sent_once_in_order_as_in_the_feed_without_personal_fields(bench: Bench, api: Api) -> None:
    make_history(users=3, commands=30)
    store.append(f"parcel-{uuid4()}", [ParcelSent(uuid4(), "1 High Street")], expected_version=0)
    bench.relay()
    found, log = messages(bench.url, bench.stream), as_in_feed(api)
    assert [each.document for each in found] == log
    assert {"users.UserRegistered", "orders.OrderPlaced", "eventlog.ParcelSent"} <= {each["type"] for each in log}
    for each, event in zip(found, log, strict=True):
        assert each.subject == f"{bench.stream}.{event['type']}"
        assert as_cloud_event(each) == {
            "specversion": "1.0",
            "id": event["event_id"],
            "source": f"urn:uuid:{log[0]['event_id']}",
            "type": event["type"],
            "subject": event["stream"],
            "time": event["recorded_at"],
            "datacontenttype": "application/json",
        }
        assert (each.headers["Nats-Msg-Id"], each.position) == (event["event_id"], event["position"])


def as_cloud_event(received: Received) -> dict[str, str]:
    return {name[3:]: value for name, value in received.headers.items() if name.startswith("ce-")}


def test_a_relay_goes_on_after_the_last_message_of_the_stream(bench: Bench) -> None:
    for number in range(3):
        append(number)
        append(number)
        assert "2 events sent" in bench.relay()
    assert "0 events sent" in bench.relay()
    assert in_stream(bench) == in_log()
    assert len(in_log()) == 6


def test_a_stream_is_made_so_that_nobody_removes_a_message_from_it(bench: Bench) -> None:
    bench.relay()
    made = jetstream.config(bench.url, bench.stream)
    assert (made.subjects, made.storage, made.num_replicas) == ([f"{bench.stream}.>"], "file", 1)
    assert (made.deny_delete, made.deny_purge, made.retention) == (True, True, "limits")


def test_a_relay_of_some_events_goes_on_after_the_last_of_them(bench: Bench) -> None:
    make_history(users=2, commands=10)
    only = ["--category", "user", "--type", "users.UserRegistered", "--type", "users.UserRenamed"]
    bench.relay(*only)
    append(1)
    assert "0 events sent" in bench.relay(*only)
    make_history(users=1, commands=0, seed=2)
    assert "1 events sent" in bench.relay(*only)
    assert in_stream(bench) == in_log(types=["users.UserRegistered", "users.UserRenamed"])


def test_relays_of_different_events_do_not_share_a_stream(bench: Bench) -> None:
    append(1)
    bench.relay("--type", "eventlog.Counted")
    with pytest.raises(
        CommandError, match=r"for the events of .*eventlog.Counted.*, and this relay sends those of all"
    ):
        bench.relay()
    assert "0 events sent" in bench.relay("--type", "eventlog.Counted", "--type", "eventlog.Counted")


@pytest.mark.parametrize("lost", [1, 3])
def test_a_log_that_went_back_stops_the_relay_even_after_it_has_grown_again(bench: Bench, lost: int) -> None:
    append(1)
    saved = older_log.save_log()
    for number in range(lost):
        append(number)
    bench.relay()
    before = in_stream(bench)
    saved.put_back()
    saved.forget()
    for grown in (0, 5):
        for number in range(grown):
            append(number)
        with pytest.raises(CommandError, match=r"the log went back: at position .*fill a new stream"):
            bench.relay()
    assert in_stream(bench) == before
    assert relay_in_status(bench)["log_went_back"] is True
    assert Client().get("/readyz").json()["eventlog"] == "log_went_back"
    with pytest.raises(CommandError, match="things are wrong"):
        run("log_status")
    assert "6 events sent" in bench.relay(stream=f"{bench.stream}-new")


def test_a_stream_of_another_log_is_left_alone(bench: Bench) -> None:
    jetstream.make_stream(bench.url, name=bench.stream, subjects=[f"{bench.stream}.>"])
    jetstream.publish(bench.url, f"{bench.stream}.users.UserRegistered")
    append(1)
    with pytest.raises(CommandError, match="somebody else writes to this stream"):
        bench.relay()
    assert [each.document for each in messages(bench.url, bench.stream)] == [{}]


UNFIT = [
    ({"retention": RetentionPolicy.WORK_QUEUE}, "it must be limits"),
    ({"subjects": ["elsewhere.>"]}, "must have the subject"),
    ({"no_ack": True}, "acknowledges nothing"),
]


@pytest.mark.parametrize(("settings", "why"), UNFIT)
def test_a_stream_that_cannot_keep_the_place_is_refused(bench: Bench, settings: dict[str, Any], why: str) -> None:
    subjects = settings.pop("subjects", [f"{bench.stream}.>"])
    jetstream.make_stream(bench.url, name=bench.stream, subjects=subjects, **settings)
    with pytest.raises(CommandError, match=why):
        bench.relay()


def test_a_stream_that_lost_its_last_message_is_not_filled_from_the_beginning(bench: Bench) -> None:
    jetstream.make_stream(bench.url, name=bench.stream, subjects=[f"{bench.stream}.>"])
    append(1)
    append(2)
    bench.relay()
    jetstream.remove_message(bench.url, bench.stream, 2)
    with pytest.raises(CommandError, match=r"the last message of .* was removed"):
        bench.relay()
    assert len(in_stream(bench)) == 1


def test_a_stream_that_begins_at_another_sequence_is_filled(bench: Bench) -> None:
    jetstream.make_stream(bench.url, name=bench.stream, subjects=[f"{bench.stream}.>"], first_seq=1000)
    append(1)
    bench.relay()
    append(2)
    bench.relay()
    assert [each.sequence for each in messages(bench.url, bench.stream)] == [1000, 1001]


ODD = ["no dot", "a.b.c", "wild.*", "all.>", "orders.", ".Placed", "ö.Ü", 'q"u%ote.x', "x" * 200]


def test_names_that_only_an_import_brings_are_sent_too(bench: Bench) -> None:
    import_documents([document(position=n, type=type, stream=f"thing-ä % {n}") for n, type in enumerate(ODD, start=1)])
    bench.relay()
    found = messages(bench.url, bench.stream)
    assert [each.document["type"] for each in found] == ODD
    assert [each.subject.removeprefix(f"{bench.stream}.") for each in found[:6]] == [
        "no%20dot._", "a.b%2Ec", "wild.%2A", "all.%3E", "orders._", "_.Placed",
    ]  # fmt: skip
    assert as_cloud_event(found[6])["type"] == "%C3%B6.%C3%9C"
    assert as_cloud_event(found[7])["subject"] == "thing-%C3%A4%20%25%208"


def test_what_is_encrypted_in_an_event_that_this_code_does_not_know_is_left_out(bench: Bench) -> None:
    sealed = {"subject": str(uuid4()), "sealed": "AAAA"}
    import_documents([document(type="gone.Known", data={"name": sealed, "n": 10**30, "price": "1.50"})])
    bench.relay()
    [found] = messages(bench.url, bench.stream)
    assert found.document["data"] == {"n": 10**30, "price": "1.50"}


def test_a_personal_field_from_before_it_was_marked_is_left_out() -> None:
    store.append(f"parcel-{uuid4()}", [ParcelSent(uuid4(), "1 High Street")], expected_version=0)
    [recorded] = store.read_all()
    assert recorded.data["address"] == "1 High Street"
    assert cloud_events.document(recorded)["data"].keys() == {"customer_id"}


def test_an_event_too_large_for_the_server_stops_the_relay_and_leaves_no_gap(bench: Bench, nats_url: str) -> None:
    append(1)
    import_documents([document(position=9, type="gone.Large", data={"text": "x" * (1024 * 1024 - 100)})])
    append(2)
    with pytest.raises(CommandError, match=r"the event at position 9 has .* raise max_payload"):
        bench.relay()
    assert len(in_stream(bench)) <= 1


def test_a_target_that_went_back_is_filled_again(nats: nats_server.Server, tmp_path: Path) -> None:
    bench = Bench(nats.url)
    append(1)
    bench.relay()
    nats.stop()
    shutil.copytree(nats.store, tmp_path / "copy")
    nats.start()
    for number in range(150):
        append(number)
    bench.relay()
    nats.kill()
    nats.roll_back(tmp_path / "copy")
    nats.start()
    assert len(in_stream(bench)) == 1
    assert "150 events sent" in bench.relay()
    assert in_stream(bench) == in_log()


def test_what_is_wrong_at_the_start_is_said_in_one_line(bench: Bench) -> None:
    append(1)
    for options, why in [
        (["--type", "users.UserRegisterd"], "no event type 'users.UserRegisterd'; there are"),
        (["--category", "orders"], "no category 'orders'; there are"),
        (["--stream", "a.b"], "a stream has 1 to 100 ASCII letters"),
        (["--replicas", "3"], "cannot be made: replicas > 1 not supported"),
    ]:
        with pytest.raises(CommandError, match=why):
            bench.relay(*options)
    for url, why in [("localhost:4222", "a URL is as in"), ("nats://127.0.0.1:1", "no servers available")]:
        with pytest.raises(CommandError, match=why):
            run("relay_events", url, "--once")


def relay_in_status(bench: Bench) -> dict[str, Any]:
    relays = Api().staff.get("events/status/").json["relays"]
    [found] = [each for each in relays if each["name"].endswith(f"/{bench.stream}")]
    return found


def test_status_says_how_far_a_relay_is_also_when_it_does_not_run(bench: Bench) -> None:
    append(1)
    bench.relay("--type", "eventlog.Counted")
    position = store.head()
    make_history(users=1, commands=0)
    append(2)
    found = relay_in_status(bench)
    assert (found["position"], found["lag_events"], found["log_went_back"], found["error"]) == (position, 1, False, "")
    assert found["lag_seconds"] > 0
    assert found["name"] == f"{bench.url}/{bench.stream}"
