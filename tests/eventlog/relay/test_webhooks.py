"""Webhooks: what an endpoint gets, signed, in order, once more if it failed, and never by a way that it should not."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.db import connections

from apps.eventlog import store
from apps.eventlog.relay.webhooks import courier, endpoints, leases
from apps.eventlog.relay.webhooks.models import Courier, Delivery, Endpoint
from apps.users.events import UserRegistered, UserRenamed
from tests.eventlog.events import Counted
from tests.support.receiver import Receiver, answers, hangs, vanishes


@pytest.fixture(autouse=True)
def loopback(settings: Any) -> None:
    settings.WEBHOOKS_PRIVATE = True
    settings.WEBHOOKS_TIMEOUT = 1.0
    settings.WEBHOOKS_RETRIES = [0.05, 0.1, 0.2, 0.4, 0.8]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as found:
        yield found


@contextmanager
def delivering() -> Iterator[None]:
    """A courier in a thread, as beside a server."""
    stop = threading.Event()
    thread = threading.Thread(target=courier.run, args=[stop.is_set])
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(20)
        assert not thread.is_alive()


def endpoint(receiver: Receiver, name: str, *types: str) -> UUID:
    made, receiver.secrets[name] = endpoints.create(receiver.url(name), types)
    return made.pk


def eventually(condition: Callable[[], object], seconds: float = 15.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.01)


def append(stream: str | None = None, number: int = 1) -> list[int]:
    """Events of one stream; returns their positions."""
    where = stream or f"counter-{uuid4()}"
    return list(store.append(where, [Counted(n) for n in range(number)], expected_version=store.ANY).positions)


def test_an_endpoint_gets_every_event_from_now_on_signed_and_in_order(receiver: Receiver) -> None:
    append(number=3)
    endpoint(receiver, "a")
    positions = append("counter-1", 5) + append("counter-2", 5)
    with delivering():
        positions += append("counter-1", 5)
        eventually(lambda: len(receiver.got["a"]) >= 15)
    got = receiver.got["a"]
    assert sorted(receiver.positions("a")) == positions
    for stream in ("counter-1", "counter-2"):
        versions = [each.document["stream_version"] for each in got if each.document["stream"] == stream]
        assert versions == sorted(versions)
    [first] = [recorded for recorded in store.read_all() if str(recorded.event_id) == got[0].headers["webhook-id"]]
    assert got[0].document == first.document()
    assert Endpoint.objects.get().position == positions[-1]
    assert Delivery.objects.count() == 0
