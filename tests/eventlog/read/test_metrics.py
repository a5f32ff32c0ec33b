"""What Prometheus and an operator see, who may see it, and that a database that is away costs nothing but its part."""

import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
from django.db import OperationalError, connections
from prometheus_client.parser import text_string_to_metric_families

from apps.eventlog import store
from apps.eventlog.delivery import checkpoints, projecting, reacting
from apps.eventlog.delivery.backlog import Counts, Kind
from apps.eventlog.dispatch import dispatch
from apps.eventlog.processes import Process
from apps.eventlog.projectors import Projector
from apps.eventlog.reactors import Reactor
from apps.eventlog.read import overview, progress, readers
from apps.eventlog.read.faults import faults
from apps.eventlog.read.overview import Overview
from apps.eventlog.relay import heartbeats
from apps.eventlog.relay.webhooks import endpoints
from apps.eventlog.relay.webhooks.models import Endpoint
from apps.users.events import UserRenamed
from apps.users.models import DeadLetter
from apps.users.write.commands import RegisterUser
from tests.support.api import Api
from tests.support.history import forget_rows, make_history

# design.md's list, and what is shown beside it.
CONTRACT = {
    "headrace_log_position", "headrace_log_safe_position", "headrace_log_oldest_mark_seconds",
    "headrace_reader_lag_events", "headrace_reader_lag_seconds", "headrace_reader_events", "headrace_dead_letters",
    "headrace_log_went_back", "headrace_seal_age_seconds", "headrace_command_seconds", "headrace_query_seconds",
    "headrace_streams_open", "headrace_pool_waiting",
}  # fmt: skip

Samples = dict[tuple[str, ...], float]


@pytest.fixture
def token(settings: Any) -> str:
    settings.METRICS_TOKEN = "monitoring-token"
    return "monitoring-token"


def scrape(api: Api, token: str = "", accept: str = "text/plain") -> Any:
    headers = {"Authorization": f"Bearer {token}"} if token else api.headers
    return api.client.get("/metrics", headers={**headers, "Accept": accept})


def samples(text: str) -> Samples:
    """The value of each sample, by its name and the values of its labels in the order of their names."""
    families = text_string_to_metric_families(text)
    return {
        (each.name, *dict(sorted(each.labels.items())).values()): each.value
        for family in families
        for each in family.samples
    }


def test_prometheus_reads_every_metric(api: Api, token: str) -> None:
    make_history(users=2, commands=10)
    api.staff.get("orders/")
    answer = scrape(api, token)
    assert answer.status_code == 200
    families = {family.name: family for family in text_string_to_metric_families(answer.content.decode())}
    assert families.keys() >= CONTRACT - {"headrace_pool_waiting"}  # which only a server has
    found = samples(answer.content.decode())
    assert found["headrace_log_position",] == found["headrace_log_safe_position",] == store.head()
    kinds: list[Any] = [*Projector.registry.values(), *Reactor.registry.values(), *Process.registry.values()]
    for name in ("lag_events", "lag_seconds", "events_total"):
        assert {key[1:] for key in found if key[0] == f"headrace_reader_{name}"} == {(k.name, k.service) for k in kinds}
    assert found["headrace_reader_lag_events", "UserProjector", "users"] == 0
    taken = store.count(category="user")
    assert found["headrace_reader_events_total", "UserProjector", "users"] == taken
    assert any(key[:2] == ("headrace_command_seconds_count", "RegisterUser") for key in found)
    assert any(key[:3] == ("headrace_query_seconds_count", "/api/orders/", "200") for key in found)


def test_refusals_are_counted_by_their_status(api: Api, token: str) -> None:
    before = samples(scrape(api, token).content.decode())
    customer = api.customer()
    assert api.post("auth/login/", {"username": "nobody", "password": "wrong"}).status == 401
    assert [customer.get("events/").status for _ in range(2)] == [403] * 2
    assert customer.get("orders/nowhere/").status == 404
    after = samples(scrape(api, token).content.decode())
    more = {key[1]: after[key] - before.get(key, 0) for key in after if key[0] == "headrace_refusals_total"}
    assert {status: number for status, number in more.items() if number} == {"401": 1, "403": 2}


@pytest.mark.parametrize("accept", ["", "*/*", "text/plain", "application/openmetrics-text;version=1.0.0", "image/png"])
def test_any_form_may_be_asked_for(api: Api, token: str, accept: str) -> None:
    answer = scrape(api, token, accept)
    assert (answer.status_code, answer.headers["Cache-Control"]) == (200, "no-store")
    assert answer.headers["Content-Type"].startswith(
        "application/openmetrics-text" if "open" in accept else "text/plain"
    )


def test_the_token_reads_metrics_and_status_and_nothing_else(api: Api, token: str, settings: Any) -> None:
    monitor = Api(token)
    assert monitor.get("events/status/").status == scrape(api, token).status_code == 200
    for path in ("events/", "events/catalog/", "events/stream/", "orders/", "users/"):
        assert (path, monitor.get(path).status) == (path, 401)
    assert monitor.client.get("/admin/projectors/", headers=monitor.headers).status_code == 302
    assert monitor.post("users/", {"email": "ann@example.org", "name": "Ann"}).status == 401
    for wrong in ("", "monitoring-toke", "monitoring-token2", "Monitoring-token", "\xe9"):
        assert Api(wrong).get("events/status/").status == scrape(Api(), wrong).status_code == 401
    settings.METRICS_TOKEN = ""
    assert scrape(api, token).status_code == scrape(Api("")).status_code == 401
    settings.DEBUG = True
    assert scrape(Api()).status_code == 200
    assert Api().get("events/status/").status == 401


def test_staff_may_scrape_and_customers_may_not(api: Api) -> None:
    assert scrape(api.staff).status_code == 200
    assert scrape(api.customer()).status_code == 403


def test_lag_rate_and_last_error_are_those_of_the_reader(api: Api, worker_mode: None) -> None:
    user = uuid4()
    dispatch(RegisterUser(user, "ann@example.org", "Ann"))
    waiting = _reader(api, "UserProjector")
    assert (waiting["lag_events"], waiting["position"], waiting["last_error"]) == (1, 0, None)
    assert 0 < waiting["lag_seconds"] < 60
    store.append(f"user-{user}", [UserRenamed(f"n{number}") for number in range(7)], expected_version=1)
    assert _reader(api, "UserProjector")["lag_events"] == 8
    projecting.catch_up("users")
    reacting.catch_up("users")
    done = _reader(api, "UserProjector")
    assert (done["lag_events"], done["lag_seconds"], done["position"], done["dead_letters"]) == (0, 0, 8, 0)
    assert done["batch_ms"] > 0
    DeadLetter.objects.create(projector="UserProjector", stream="user-1", position=1, status="failed", error="Ouch: x")
    failed = _reader(api, "UserProjector")
    assert (failed["dead_letters"], failed["last_error"]) == (1, "Ouch: x")
    assert api.staff.get("events/status/")["wrong"][0] == "UserProjector of users has 1 dead letters"


def _reader(api: Api, name: str) -> dict[str, Any]:
    status = api.staff.get("events/status/")
    [found] = [each for each in [*status["projectors"], *status["reactors"]] if each["name"] == name]
    return found


def test_a_rate_is_taken_between_two_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    make_history(users=1, commands=0)
    monkeypatch.setattr(progress, "_looks", {})
    clock = iter([100.0, 110.0, 111.0])
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    [reader] = [each for each in readers.of("users") if each.name == "UserProjector"]
    assert progress.of_readers([reader])[reader.key].rate is None
    make_history(users=4, commands=0, seed=2)
    [later] = [each for each in readers.of("users") if each.name == "UserProjector"]
    assert progress.of_readers([later])[reader.key].rate == pytest.approx(0.4)
    assert progress.of_readers([reader])[reader.key].rate is None  # it went back, by a replay say


def test_counts_that_are_remembered_are_those_of_the_log() -> None:
    make_history(users=3, commands=20)
    counts, kinds = Counts(), [Kind("category", "user"), Kind("type", "orders.OrderPlaced"), Kind("", "")]
    for seed in (2, 3):
        counts.begin(store.safe_place())
        for position in [store.head(), 3, 0, 7, store.head() - 1, *range(store.head())]:
            for column, value in kinds:
                wanted = {"category": value} if column == "category" else {"types": [value]} if column else {}
                known = store.count(until=position, **wanted)
                assert (position, value, counts.up_to(position, [Kind(column, value)])) == (position, value, known)
        make_history(users=1, commands=5, seed=seed)


def test_a_look_at_readers_far_behind_counts_once(django_assert_max_num_queries: Any) -> None:
    make_history(users=3, commands=20)
    forget_rows()
    behind = readers.of("orders")
    first = progress.of_readers(behind)
    store.append(f"user-{uuid4()}", [UserRenamed("n")], expected_version=0)
    with django_assert_max_num_queries(40, connection=connections["eventlog"]) as seen:
        later = progress.of_readers(behind)
    counted = [query["sql"] for query in seen.captured_queries if "count(*)" in query["sql"]]
    assert counted
    assert all("position > " in sql and "position <= " in sql for sql in counted)  # what is new alone
    follower = next(each for each in behind if Kind("category", "user") in each.follows)
    assert later[follower.key].lag_events == first[follower.key].lag_events + 1


@pytest.mark.parametrize("away", ["orders", overview.LOG])
@pytest.mark.parametrize("fault", ["fails", "hangs"])
def test_a_database_that_is_away_leaves_the_rest(
    api: Api, token: str, monkeypatch: pytest.MonkeyPatch, away: str, fault: str
) -> None:
    make_history(users=2, commands=10)
    go_on = threading.Event()
    sources = readers.sources()
    broken = _broken(fault, go_on)
    monkeypatch.setattr(overview, "PATIENCE", 0.3)
    monkeypatch.setattr(
        overview, "sources", lambda: {name: broken if name == away else ask for name, ask in sources.items()}
    )
    if away == overview.LOG:
        monkeypatch.setattr(overview, "log_state", broken)
    try:
        found = samples(scrape(api, token).content.decode())
        status = Api(token).get("events/status/")
    finally:
        go_on.set()
    assert ("headrace_log_position" in {key[0] for key in found}) == (away != overview.LOG)
    assert (("headrace_dead_letters", "OrderProjector", "orders") in found) == (away != "orders")
    assert found["headrace_dead_letters", "UserProjector", "users"] == 0
    assert found["headrace_database_up", "eventlog" if away == overview.LOG else away] == 0
    assert status["wrong"][0] == f"{away} does not answer"
    assert status["head"] == (None if away == overview.LOG else store.head())


def _broken(fault: str, go_on: threading.Event) -> Callable[[], Any]:
    def ask() -> Any:
        if fault == "hangs":
            go_on.wait(30)
        raise OperationalError("the server has closed the connection")

    return ask


def test_what_sends_events_out_is_late_and_wrong_like_a_reader(api: Api, token: str) -> None:
    endpoint, _ = endpoints.create("https://example.org/hook")
    make_history(users=2, commands=0)
    heartbeats.beat("nats://here/EVENTS", {}, store.event_at(1).place, "no responders")
    found = samples(scrape(api, token).content.decode())
    assert found["headrace_reader_lag_events", str(endpoint.pk), "webhooks"] == store.head()
    assert found["headrace_reader_lag_events", "nats://here/EVENTS", "relay"] == store.head() - 1
    assert found["headrace_reader_lag_seconds", "nats://here/EVENTS", "relay"] > 0
    status = api.staff.get("events/status/")
    assert status["wrong"] == ["nats://here/EVENTS of relay cannot send: no responders"]
    assert [each["id"] for each in status["webhooks"]] == [str(endpoint.pk)]
    Endpoint.objects.update(log_went_back=True)
    assert api.staff.get("events/status/")["wrong"][0].startswith(f"webhook {endpoint.pk} has stopped")
    endpoints.change(endpoint.pk, {"active": False})
    assert not any(str(endpoint.pk) in key for key in samples(scrape(api, token).content.decode()))


def test_what_is_wrong_is_said_the_worst_first(api: Api) -> None:
    make_history(users=1, commands=0)
    [reader] = [each for each in readers.of("users") if each.name == "UserProjector"]
    late = progress.Progress(1, 5, 300.0, went_back=False, rate=None)
    gone = late._replace(went_back=True)
    seen = Overview(None, [(reader, late), (reader, gone)], ["orders"])
    said = [each.text for each in faults(seen)]
    assert [said[0], len(said)] == ["orders does not answer", 4]
    assert "the log went back" in said[1]
    assert said[2] == "UserProjector of users is late: 5 events wait, the oldest for 300 s"
    assert checkpoints.positions("users")["UserProjector"] == store.head()
