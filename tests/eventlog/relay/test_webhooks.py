"""Webhooks: what an endpoint gets, signed, in order, once more if it failed, and never by a way that it should not."""

import logging
import os
import re
import socket
import subprocess
import sys
import time
from base64 import b64decode
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.core.management import call_command
from standardwebhooks import Webhook

from apps.eventlog import store
from apps.eventlog.encryption import data_keys
from apps.eventlog.relay.webhooks import courier, endpoints
from apps.eventlog.relay.webhooks.models import Delivery, Endpoint
from apps.users.events import UserRegistered
from tests.eventlog.events import Counted, Named
from tests.eventlog.relay.conftest import RETRIES
from tests.eventlog.relay.endpoints_at_work import append, delivering, document, eventually, made, of_stream, refuses
from tests.support.receiver import Receiver, answer, answers, hangs, takes, vanishes

pytestmark = pytest.mark.usefixtures("quick")


def test_an_endpoint_gets_every_event_from_now_on_signed_and_in_order(receiver: Receiver) -> None:
    append(number=3)
    made(receiver, "a")
    positions = append("counter-1", 5) + append("counter-2", 5)
    with delivering():
        positions += append("counter-1", 5)
        eventually(lambda: len(receiver.got["a"]) >= 15)
    assert sorted(receiver.positions("a")) == positions
    for stream in ("counter-1", "counter-2"):
        mine = of_stream(receiver, "a", stream)
        assert mine == sorted(mine)
    got = receiver.got["a"][0]
    [first] = [recorded for recorded in store.read_all() if str(recorded.event_id) == got.headers["webhook-id"]]
    assert got.document == first.document()
    assert (Endpoint.objects.get().position, Delivery.objects.count()) == (positions[-1], 0)


def test_an_endpoint_gets_its_types_alone_and_stands_where_the_log_ends(receiver: Receiver) -> None:
    id = made(receiver, "a", Named.type)
    append(number=3)
    wanted = store.append("thing-1", [Named("x")], expected_version=0)
    append(number=3)
    call_command("run_projectors", "--once")
    assert receiver.positions("a") == [wanted.position]
    assert (document(id)["lag_events"], document(id)["lag_seconds"]) == (0, 0)


def test_personal_fields_are_left_out_also_of_events_that_this_code_does_not_know(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    made(receiver, "a")
    registered = UserRegistered("ann@example.org", "Ann Onymous")
    store.append(f"user-{uuid4()}", [registered], expected_version=0)
    courier.drain()
    store.append(f"user-{uuid4()}", [registered], expected_version=0)
    monkeypatch.delitem(UserRegistered.types, UserRegistered.type)
    courier.drain()
    assert len(receiver.got["a"]) == 2
    for got in receiver.got["a"]:
        assert not {"email", "name"} & got.document["data"].keys()
        assert "ann@example.org" not in str(got.document)
        assert "sealed" not in str(got.document)


def test_an_event_that_is_not_taken_holds_its_stream_and_no_other(receiver: Receiver, settings: Any) -> None:
    settings.WEBHOOKS_RETRIES = [0.05] * 3 + [60.0]
    id = made(receiver, "a")
    bad, *later = append("counter-1", 4)
    receiver.behave("a", refuses(bad))
    with delivering():
        others = append("counter-2", 4) + append("counter-3", 4)
        eventually(lambda: len(receiver.got["a"]) == 8)
        later += append("counter-1")
        others += append("counter-2")
        eventually(lambda: len(receiver.got["a"]) == 9)
        eventually(lambda: document(id)["lag_events"] == 5)
        [delivery] = Delivery.objects.all()
        assert (delivery.position, delivery.status, delivery.answer) == (bad, Delivery.Status.PENDING, 500)
        assert document(id)["failing_since"] is not None
        assert document(id)["last_error"] == "the answer was 500"
        receiver.behave("a", takes)
        endpoints.send_again(id, "ann", Delivery.objects.all())
        eventually(lambda: len(receiver.got["a"]) == 14)
        eventually(lambda: document(id)["failing_since"] is None)
    assert of_stream(receiver, "a", "counter-1") == [bad, *later]
    assert sorted(receiver.positions("a")) == sorted([bad, *later, *others])
    [delivery] = Delivery.objects.all()  # the only one that ever failed
    assert (delivery.position, delivery.status, delivery.error) == (bad, Delivery.Status.DELIVERED, "")
    assert [act["act"] for act in delivery.acts] == ["send again"]
    assert document(id) | {"lag_events": 0, "lag_seconds": 0, "last_error": ""} == document(id)


def test_after_the_last_retry_an_event_is_set_aside_until_somebody_decides(receiver: Receiver) -> None:
    id = made(receiver, "a")
    bad, good = append("counter-1", 2)
    receiver.behave("a", refuses(bad))
    with delivering():
        eventually(lambda: Delivery.objects.filter(status=Delivery.Status.SET_ASIDE).exists())
        assert document(id)["dead_letters"] == 1
        attempts = receiver.tried["a"]
        assert len(attempts) >= len(RETRIES)
        assert len(set(attempts)) == 1
        with pytest.raises(AssertionError):
            eventually(lambda: len(attempts) < len(receiver.tried["a"]), 0.5)  # nothing is sent any more
        endpoints.send_again(id, "ann", Delivery.objects.all())
        eventually(lambda: Delivery.objects.filter(status=Delivery.Status.PENDING).exists())
        eventually(lambda: Delivery.objects.filter(status=Delivery.Status.SET_ASIDE).exists())
        endpoints.skip(id, "bob", "their order was deleted", Delivery.objects.all())
        eventually(lambda: receiver.positions("a") == [good])
        eventually(lambda: document(id)["failing_since"] is None)
    [delivery] = Delivery.objects.all()
    assert delivery.status == Delivery.Status.SKIPPED
    assert [(act["act"], act["by"]) for act in delivery.acts] == [("send again", "ann"), ("skip", "bob")]


def test_endpoints_that_fail_delay_no_other_and_get_all_once_they_are_back(receiver: Receiver, settings: Any) -> None:
    settings.WEBHOOKS_RETRIES = [1.0, 60.0]
    behaviours = {"hangs": hangs, "vanishes": vanishes, "answers-500": answers(500), "is-not-there": takes}
    behaviours["redirects"] = answers(302, f"location: {receiver.url('trap')}\r\n")
    bad = {name: made(receiver, name) for name in behaviours}
    for name, behaviour in behaviours.items():
        receiver.behave(name, behaviour)
    Endpoint.objects.filter(pk=bad["is-not-there"]).update(url="http://127.0.0.1:9/")
    made(receiver, "good")
    positions = []
    with delivering():
        for number in range(24):
            positions += append(f"counter-{number % 6}")
            eventually(lambda number=number: len(receiver.got["good"]) == number + 1, 0.4)  # type: ignore[misc]
        eventually(lambda: all(document(id)["failing_since"] for id in bad.values()))
        assert {document(id)["lag_events"] for id in bad.values()} == {24}
        for name, id in bad.items():
            receiver.behave(name, takes)
            endpoints.change(id, {"url": receiver.url(name)})
        eventually(lambda: all(len(receiver.got[name]) == 24 for name in bad))
        eventually(lambda: not any(document(id)["failing_since"] for id in bad.values()))
    assert receiver.positions("good") == positions
    for name in bad:
        assert sorted(receiver.positions(name)) == positions
        for number in range(6):
            mine = of_stream(receiver, name, f"counter-{number}")
            assert mine == sorted(mine)
    assert receiver.tried["trap"] == []


def test_an_endpoint_in_trouble_is_left_in_peace(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("apps.eventlog.relay.webhooks.retries.PEACE", (60.0, 60.0))
    made(receiver, "a")
    receiver.behave("a", answers(503))
    for number in range(50):
        append(f"counter-{number}")
    call_command("run_projectors", "--once")
    assert 3 <= len(receiver.tried["a"]) <= 8
    assert Delivery.objects.count() <= 8  # what waits in the log needs no row


def test_a_retry_waits_for_as_long_as_the_receiver_asks(receiver: Receiver) -> None:
    id = made(receiver, "a")
    receiver.behave("a", answers(429, "retry-after: 30\r\n"))
    append()
    call_command("run_projectors", "--once")
    paused = Endpoint.objects.get(pk=id).paused_until
    assert paused is not None
    assert 28 < paused.timestamp() - time.time() < 33


def test_an_endpoint_that_is_gone_is_switched_off(receiver: Receiver) -> None:
    id = made(receiver, "a")
    receiver.behave("a", answers(410))
    append()
    with delivering():
        eventually(lambda: not Endpoint.objects.get(pk=id).active)
        append()
    assert len(receiver.tried["a"]) == 1
    assert document(id)["last_error"] == "the answer was 410"


def test_an_endpoint_that_is_switched_off_and_on_goes_on_where_it_was(receiver: Receiver) -> None:
    id = made(receiver, "a")
    with delivering():
        first = append()
        eventually(lambda: receiver.positions("a") == first)
        endpoints.change(id, {"active": False})
        eventually(lambda: Endpoint.objects.get(pk=id).courier is None)
        second = append()
        endpoints.change(id, {"active": True})
        eventually(lambda: len(receiver.got["a"]) == 2)
    assert receiver.positions("a") == first + second


def test_a_long_answer_is_not_read_and_a_packed_one_not_unpacked(receiver: Receiver) -> None:
    made(receiver, "a")
    sent = []

    async def behave(_: dict[str, Any]) -> bytes:
        sent.append(1)
        return answer(200, "content-encoding: gzip\r\n", b"\x1f\x8b" + b"x" * 5_000_000)

    receiver.behave("a", behave)
    append("counter-1", 3)
    call_command("run_projectors", "--once")
    assert len(sent) == 3
    assert Endpoint.objects.get().failures == 0


def test_nothing_in_default_opens_a_secret_and_a_new_one_signs_beside_the_old_one(
    receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    id = made(receiver, "a")
    before = receiver.secrets.pop("a")
    after = endpoints.rotate_secret(id)
    append()
    call_command("run_projectors", "--once")
    [got] = receiver.got["a"]
    body = store.event_at(got.document["position"])
    assert got.headers["webhook-signature"].count("v1,") == 2
    for secret in (before, after):
        signed = got.headers["webhook-signature"].split(" ")[int(secret == before)]
        at = time.gmtime(int(got.headers["webhook-timestamp"]))
        assert at.tm_year >= 2026
        assert len(b64decode(secret.removeprefix("whsec_"))) == 32
        assert signed.startswith("v1,")
    assert body
    rows = list(Endpoint.objects.values()) + list(Delivery.objects.values())
    for secret in (before, after):
        kept = b64decode(secret.removeprefix("whsec_"))
        assert secret not in str(rows) + caplog.text
        assert kept.hex() not in str(rows)
        assert Webhook(secret)


def test_without_the_key_of_the_secrets_nothing_is_signed_by_another(receiver: Receiver) -> None:
    id = made(receiver, "a")
    data_keys._recent.clear()
    data_keys.destroy(data_keys.WEBHOOKS)
    append()
    with delivering():
        eventually(lambda: "cannot be signed" in Endpoint.objects.get(pk=id).last_error)
    assert receiver.tried["a"] == []
    with pytest.raises(Exception, match="missing"):
        made(receiver, "b")


def test_the_receiver_of_the_how_to_takes_what_is_signed_and_nothing_else(root: Path, tmp_path: Path) -> None:
    [code] = re.findall(r"```python\n(.*?)```", (root / "docs/how-to/send-webhooks.md").read_text(), re.DOTALL)
    (tmp_path / "receiver.py").write_text(code)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    endpoint, secret = endpoints.create(f"http://127.0.0.1:{port}/hook")
    environment = {"WEBHOOK_SECRET": secret, "PORT": str(port), "PATH": os.environ["PATH"]}
    command = [sys.executable, str(tmp_path / "receiver.py")]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as receiver:
        try:
            [position] = append("counter-1")
            eventually(lambda: courier.drain() or Endpoint.objects.get().sent == 1)
            endpoints.rotate_secret(endpoint.pk)
            Endpoint.objects.update(previous_until=None)
            append("counter-1")
            courier.drain()
            assert document(endpoint.pk)["last_error"] == "the answer was 401"
        finally:
            receiver.terminate()
        assert receiver.stdout
        assert receiver.stdout.read().split() == [str(position), Counted.type, "counter-1"]
