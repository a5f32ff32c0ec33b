"""One real NATS server a session, where each test has a stream of its own; and a receiver of webhooks."""

from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from apps.eventlog.relay.webhooks import courier, leases
from tests.support.exported import run
from tests.support.receiver import Receiver
from tools import nats_server

RETRIES = [0.05, 0.2, 0.4, 0.7]  # seconds instead of days

_numbers = count(1)


class Bench:
    """A server and the name of a stream that no other test uses; `relay` sends events there."""

    def __init__(self, url: str) -> None:
        self.url, self.stream = url, f"test-{next(_numbers)}"

    def relay(self, *options: str, stream: str = "") -> str:
        """Run `relay_events --once`; returns what it printed."""
        return run("relay_events", self.url, "--once", "--stream", stream or self.stream, *options)


@pytest.fixture(scope="session")
def nats_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    # Nobody cuts its power, so it need not wait for the disk.
    server = nats_server.Server(tmp_path_factory.mktemp("nats"), sync="10s")
    server.start()
    yield server.url
    server.kill()


@pytest.fixture
def bench(nats_url: str) -> Bench:
    return Bench(nats_url)


@pytest.fixture
def nats(tmp_path: Path) -> Iterator[nats_server.Server]:
    """A server to be killed."""
    server = nats_server.Server(tmp_path / "nats")
    server.start()
    yield server
    server.kill()


@pytest.fixture
def quick(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.WEBHOOKS_PRIVATE, settings.WEBHOOKS_TIMEOUT = True, 0.5
    settings.WEBHOOKS_RETRIES = RETRIES
    monkeypatch.setattr(leases, "BEAT", 0.05)
    monkeypatch.setattr(courier, "REMEMBER", 0.05)
    monkeypatch.setattr("apps.eventlog.relay.webhooks.retries.PEACE", (0.05, 0.2))


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as found:
        yield found
