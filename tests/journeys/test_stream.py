"""The live stream over a real server: everything once, in order, across restarts and from outside writers."""

import json
import signal
import sqlite3
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from itertools import islice
from typing import Any

import httpx
import psycopg
import pytest

from tests.journeys.deployment import Deployment, Server, eventually
from tests.journeys.sse import Stream, as_customer, listening
from tests.journeys.test_outages import outage
from tests.support import engine
from tests.support.older_log import SavedLog

WRITE_OUTSIDE = (
    "from uuid import uuid4; from apps.eventlog.dispatch import dispatch;"
    "from apps.users.write.commands import RegisterUser;"
    "[dispatch(RegisterUser(uuid4(), f'{uuid4()}@example.org', 'Outside')) for _ in range(20)]"
)
LOSE_STAFF = "UPDATE auth_user SET is_staff = false WHERE username = 'admin' RETURNING id"
ORDER = {"currency": "EUR", "lines": [{"sku": "A", "quantity": 1, "unit_price": "2.00"}]}


def test_a_listener_sees_what_comes_and_resumes_where_it_was(deployment: Deployment) -> None:
    with deployment.server() as server:
        server.register(0)
        with listening(server) as stream:
            for number in range(1, 4):
                server.register(number)
            assert stream.positions(3) == [2, 3, 4]
        deployment.manage("shell", "-v0", "-c", WRITE_OUTSIDE)
    with deployment.server() as server:
        with listening(server, last_id="events:4") as stream:
            assert stream.positions(20) == list(range(5, 25))
            server.register(99)
            assert stream.positions(1) == [25]
        with listening(server, "?after=0&type=users.UserRegistered") as stream:
            assert stream.positions(25) == list(range(1, 26))


def test_a_burst_from_outside_arrives_whole(deployment: Deployment) -> None:
    with deployment.server() as server, listening(server) as stream:
        deployment.manage("shell", "-v0", "-c", WRITE_OUTSIDE)
        assert stream.positions(20) == list(range(1, 21))


def test_an_outage_of_the_log_leaves_no_gap(deployment: Deployment) -> None:
    with deployment.server() as server, listening(server) as stream:
        server.register(1)
        assert stream.positions(1) == [1]
        with outage(deployment, "eventlog"):
            pass
        eventually(lambda: server.register(2).status_code == 201)
        with outage(deployment, "default"):
            pass
        eventually(lambda: server.register(3).status_code == 201)
        assert stream.positions(2) == [2, 3]


@contextmanager
def log_of(deployment: Deployment) -> Iterator[Any]:
    """A connection of the driver to the log of a deployment."""
    if engine.POSTGRES:
        with psycopg.connect(engine.URL, dbname=f"{deployment.prefix}_eventlog", autocommit=True) as connection:
            yield connection
        return
    with closing(sqlite3.connect(deployment.directory / "eventlog.sqlite3", timeout=20)) as connection:
        yield connection


def test_clients_are_reset_to_what_they_share_with_a_log_that_went_back(deployment: Deployment) -> None:
    with deployment.server() as server, log_of(deployment) as log:
        server.register(1)
        server.register(2)
        saved = SavedLog(log)
        with listening(server, "?after=0") as stream, listening(server, "?after=0&type=users.UserRenamed") as filtered:
            server.register(3)
            server.register(4)
            assert stream.positions(4) == [1, 2, 3, 4]
            gone = stream.last_id
            saved.put_back()
            for each in (stream, filtered):
                message = next(each.messages())
                assert (message["event"], json.loads(message["data"])) == ("reset", {"position": 2})
            for number in range(5, 9):
                server.register(number)
            assert stream.positions(4) == [3, 4, 5, 6]
            assert [message["event"] for message in _first(server, gone, 2)] == ["reset", "message"]
            assert [message["event"] for message in _first(server, stream.last_id.replace(":6", ":5"), 1)] == ["reset"]
        unknown = "events:00000000:3"  # of another process, say
        messages = _first(server, unknown, 2)
        assert (messages[0]["event"], json.loads(messages[0]["data"])) == ("reset", {"position": 0})
        assert json.loads(messages[1]["data"])["position"] == 1
        assert json.loads(_first(server, "events:3", 1)[0]["data"])["position"] == 4  # an older client
        saved.forget()


def _first(server: Server, last_id: str, number: int) -> list[dict[str, str]]:
    with listening(server, last_id=last_id) as stream:
        return list(islice(stream.messages(), number))


def test_a_bad_place_to_start_or_filter_is_refused(deployment: Deployment) -> None:
    with deployment.server() as server:
        for query in (
            *("after=-1", "after=999", "after=", "after=1.0", f"after={'9' * 30}", "after=%EF%BC%91", "after=1@x"),
            *("es-meta=x", "channel=x", "recover=true", "type=", "type=nonsense", "category=order-1", "stream=order"),
        ):
            answer = server.client.get(f"/api/events/stream/?{query}")
            assert (query, answer.status_code) == (query, 400)
        for last_id in (
            "x:abc",
            "events:999",
            "events:",
            "-1",
            "1,2",
            "events:1,events:2",
            "events:xyz:1",
            "events:00:1",
        ):
            for query in ("", "?after=0"):
                headers = {"Last-Event-ID": last_id}
                answer = server.client.get(f"/api/events/stream/{query}", headers=headers)
                assert (last_id, answer.status_code) == (last_id, 400)


def test_a_customer_sees_the_events_of_their_own_streams(deployment: Deployment) -> None:
    with deployment.server() as server:
        (ann, anns), (bob, bobs) = as_customer(server, 1), as_customer(server, 2)
        client = server.client
        with listening(server, **anns) as live:
            order = client.post("/api/orders/", json=ORDER, headers=anns).json()["id"]
            other = client.post("/api/orders/", json=ORDER, headers=bobs).json()["id"]
            client.post(f"/api/users/{bob}/rename/", json={"name": "Bobby"})
            client.post(f"/api/orders/{other}/pay/", json={"payment_reference": "p"})
            client.post(f"/api/orders/{order}/pay/", json={"payment_reference": "p"})
            client.post(f"/api/users/{ann}/rename/", json={"name": "Anna"})
            own = [f"order-{order}", f"order-{order}", f"user-{ann}"]
            events = live.documents()
            assert [next(events)["stream"] for _ in own] == own
        with listening(server, "?after=0", **anns) as stream:
            events = stream.documents()
            assert [next(events)["stream"] for _ in range(4)] == [f"user-{ann}", *own]
        with listening(server, f"?after=0&stream=order-{order.upper()}", **anns) as stream:
            types = [event["type"] for event in islice(stream.documents(), 2)]
            assert types == ["orders.OrderPlaced", "orders.OrderPaid"]
        for name in (f"order-{other}", f"user-{bob}", "order-nothing"):
            assert client.get(f"/api/events/stream/?stream={name}", headers=anns).status_code == 404
        client.headers.pop("Authorization")
        assert client.get("/api/events/stream/").status_code == 401


def test_a_customer_has_a_limited_number_of_streams(deployment: Deployment) -> None:
    with deployment.server(STREAMS_PER_CUSTOMER="2") as server, ExitStack() as streams:
        _, headers = as_customer(server, 1)
        for _ in range(2):
            streams.enter_context(listening(server, **headers))
        assert server.client.get("/api/events/stream/", headers=headers).status_code == 429
        streams.close()
        eventually(lambda: _opens(server, headers))


def test_streams_that_are_opened_at_once_share_the_limit(deployment: Deployment) -> None:
    with deployment.server(STREAMS_PER_CUSTOMER="3") as server, ExitStack() as streams:
        _, headers = as_customer(server, 1)

        def open_one(_: int) -> int:
            response = server.client.stream("GET", "/api/events/stream/", headers=headers)
            return streams.enter_context(response).status_code

        with ThreadPoolExecutor(12) as threads:
            statuses = Counter(threads.map(open_one, range(12)))
        assert statuses == {200: 3, 429: 9}


def _opens(server: Server, headers: dict[str, str]) -> bool:
    with server.client.stream("GET", "/api/events/stream/", headers=headers) as response:
        return response.status_code == 200


def test_a_stream_ends_when_the_right_to_it_does(deployment: Deployment) -> None:
    with deployment.server() as server, ExitStack() as streams:
        (_, out), (gone, deactivated), (_, stays) = (as_customer(server, number) for number in range(3))
        session = {"Cookie": f"sessionid={_session(server)}", "Authorization": ""}
        ending = [streams.enter_context(listening(server, **headers)) for headers in (out, deactivated, session)]
        staying = streams.enter_context(listening(server, **stays))
        began = time.monotonic()
        server.client.post("/api/auth/logout/", headers=out)
        server.client.post(f"/api/users/{gone}/deactivate/", json={"reason": "left"})
        assert deployment.query("default", LOSE_STAFF)
        for stream in ending:
            assert [message["event"] for message in stream.messages()] in ([], ["message"])
        assert time.monotonic() - began < 10
        server.client.post("/api/orders/", json=ORDER, headers=stays)
        assert next(staying.documents())["type"] == "orders.OrderPlaced"


def _session(server: Server) -> str:
    """A session of the staff login, by the admin's form."""
    with httpx.Client(base_url=server.url) as browser:
        browser.get("/admin/login/")
        form = {"username": "admin", "password": "admin", "csrfmiddlewaretoken": browser.cookies["csrftoken"]}
        browser.post("/admin/login/", data=form)
        return browser.cookies["sessionid"]


@pytest.mark.parametrize("processes", ["1", "2"])
def test_the_server_stops_in_time_and_in_peace_while_streams_are_open(deployment: Deployment, processes: str) -> None:
    with deployment.server("--workers", processes) as server, ExitStack() as stack:
        streams: list[Stream] = [stack.enter_context(listening(server)) for _ in range(20)]
        started = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        server.process.wait(timeout=10)
        assert time.monotonic() - started < 3
        assert [list(stream.messages()) for stream in streams] == [[]] * 20  # ended, not torn
    assert "Traceback" not in (deployment.directory / "processes.log").read_text()
