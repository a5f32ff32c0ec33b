"""The live stream over a real server: everything once, in order, across restarts and from outside writers."""

import json
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest

from tests.journeys.deployment import Deployment, Server

WRITE_OUTSIDE = (
    "from uuid import uuid4; from apps.eventlog.dispatch import dispatch;"
    "from apps.users.write.commands import RegisterUser;"
    "[dispatch(RegisterUser(uuid4(), f'{uuid4()}@example.org', 'Outside')) for _ in range(20)]"
)


@contextmanager
def listening(server: Server, query: str = "", last_id: str = "") -> Iterator[Iterator[dict[str, str]]]:
    """The messages of a stream as {event, id, data}; the opening one is consumed."""
    headers = {"Accept": "text/event-stream"} | ({"Last-Event-ID": last_id} if last_id else {})
    with server.client.stream("GET", f"/api/events/stream/{query}", headers=headers) as response:
        assert (response.status_code, response.headers["Content-Type"]) == (200, "text/event-stream; charset=utf-8")
        messages = _messages(response)
        assert next(messages)["event"] == "stream-open"
        yield messages


def _messages(response: httpx.Response) -> Iterator[dict[str, str]]:
    message: dict[str, str] = {}
    for line in response.iter_lines():
        if line.startswith(":"):
            continue
        if not line:
            if message:
                yield message
            message = {}
            continue
        name, _, value = line.partition(": ")
        message[name] = value


def positions(messages: Iterator[dict[str, str]], number: int) -> list[int]:
    found = [next(messages) for _ in range(number)]
    documents = [json.loads(message["data"]) for message in found]
    assert [message["id"].rpartition(":")[2] for message in found] == [str(each["position"]) for each in documents]
    return [each["position"] for each in documents]


def test_a_listener_sees_what_comes_and_resumes_where_it_was(deployment: Deployment) -> None:
    with deployment.server() as server:
        server.register(0)
        with listening(server) as messages:
            for number in range(1, 4):
                server.register(number)
            assert positions(messages, 3) == [2, 3, 4]
        deployment.manage("shell", "-v0", "-c", WRITE_OUTSIDE)
    with deployment.server() as server:
        with listening(server, last_id="events:4") as messages:
            assert positions(messages, 20) == list(range(5, 25))
            server.register(99)
            assert positions(messages, 1) == [25]
        with listening(server, "?after=0&type=users.UserRegistered") as messages:
            assert positions(messages, 25) == list(range(1, 26))


def test_a_burst_from_outside_arrives_whole(deployment: Deployment) -> None:
    with deployment.server() as server, listening(server) as messages:
        for _ in range(2):
            deployment.manage("shell", "-v0", "-c", WRITE_OUTSIDE)
        assert positions(messages, 40) == list(range(1, 41))


@pytest.mark.parametrize(
    ("query", "last_id"), [("", "x:abc"), ("", "events:999"), ("?after=-1", ""), ("?after=999", ""), ("?es-meta=x", "")]
)
def test_a_bad_place_to_start_is_refused(deployment: Deployment, query: str, last_id: str) -> None:
    with deployment.server() as server:
        headers = {"Last-Event-ID": last_id} if last_id else {}
        assert server.client.get(f"/api/events/stream/{query}", headers=headers).status_code == 400


def test_the_server_stops_in_time_while_a_stream_is_open(deployment: Deployment) -> None:
    with deployment.server() as server, listening(server):
        started = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        server.process.wait(timeout=10)
        assert time.monotonic() - started < 5
