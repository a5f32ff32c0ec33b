"""Webhook endpoints at a real receiver, and the couriers that serve them: for the tests of this room."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID, uuid4

from apps.eventlog import store
from apps.eventlog.relay.webhooks import courier, endpoints, progress
from apps.eventlog.relay.webhooks.models import Endpoint
from tests.eventlog.events import Counted
from tests.support.receiver import Receiver, answer


@contextmanager
def delivering(number: int = 1) -> Iterator[None]:
    """Couriers in threads, as beside servers."""
    stop = threading.Event()
    threads = [threading.Thread(target=courier.run, args=[stop.is_set]) for _ in range(number)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join(20)
            assert not thread.is_alive()


def made(receiver: Receiver, name: str, *types: str, active: bool = True) -> UUID:
    """An endpoint of the receiver."""
    endpoint, receiver.secrets[name] = endpoints.create(receiver.url(name), types, active=active)
    return endpoint.pk


def eventually(condition: Callable[[], object], seconds: float = 15.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.01)


def append(stream: str = "", number: int = 1) -> list[int]:
    """Events of one stream; returns their positions."""
    where = stream or f"counter-{uuid4()}"
    return list(store.append(where, [Counted(n) for n in range(number)], expected_version=store.ANY).positions)


def of_stream(receiver: Receiver, name: str, stream: str) -> list[int]:
    return [each.document["position"] for each in receiver.got[name] if each.document["stream"] == stream]


def refuses(*positions: int) -> Any:
    """A receiver that cannot take some events and takes all others."""

    async def behave(document: dict[str, Any]) -> bytes:
        return answer(500 if document["position"] in positions else 200)

    return behave


def document(id: UUID) -> dict[str, Any]:
    [found] = progress.documents([Endpoint.objects.get(pk=id)])
    return found
