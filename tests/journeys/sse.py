"""A client of the live stream."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx

from tests.journeys.deployment import Server


class Stream:
    """The messages of an open stream; `last_id` is what a client would come back with."""

    def __init__(self, response: httpx.Response) -> None:
        self.lines, self.last_id = response.iter_lines(), ""

    def messages(self) -> Iterator[dict[str, str]]:
        """Each message as {event, id, data}, until the stream ends; comments and bare ids are none."""
        message: dict[str, str] = {}
        for line in self.lines:
            if line:
                name, _, value = line.partition(": ")
                message |= {name: value} if name else {}
                continue
            self.last_id = message.get("id", self.last_id)
            if "data" in message:
                yield message
            message = {}

    def documents(self) -> Iterator[dict[str, Any]]:
        """The events, each with the id that it should have."""
        for message in self.messages():
            document = json.loads(message["data"])
            assert re.fullmatch(rf"events:[0-9a-f]{{8}}:{document['position']}", message["id"])
            yield document

    def positions(self, number: int) -> list[int]:
        events = self.documents()
        return [next(events)["position"] for _ in range(number)]


@contextmanager
def listening(server: Server, query: str = "", last_id: str = "", **headers: str) -> Iterator[Stream]:
    """An open stream, its opening message consumed; as staff unless `headers` say otherwise."""
    sent = {"Accept": "text/event-stream"} | headers | ({"Last-Event-ID": last_id} if last_id else {})
    with server.client.stream("GET", f"/api/events/stream/{query}", headers=sent) as response:
        assert (response.status_code, response.headers["Content-Type"]) == (200, "text/event-stream; charset=utf-8")
        stream = Stream(response)
        assert next(stream.messages())["event"] == "stream-open"
        yield stream


def as_customer(server: Server, number: int) -> tuple[str, dict[str, str]]:
    """A new customer: the user id, and the headers that carry the token."""
    email, password = f"customer{number}@example.org", "correct horse battery"
    registered = server.client.post("/api/users/", json={"email": email, "name": "C", "password": password})
    login = server.client.post("/api/auth/login/", json={"username": email, "password": password})
    return registered.json()["id"], {"Authorization": f"Bearer {login.json()['token']}"}
