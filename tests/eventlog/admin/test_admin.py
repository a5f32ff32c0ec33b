"""The admin: everything to see, nothing to forge, and actions that send commands."""

from decimal import Decimal
from typing import Any
from urllib.parse import quote
from uuid import UUID, uuid4

import pytest
from django.apps import apps
from django.conf import settings
from django.contrib import admin
from django.contrib.admin.utils import quote as quote_of
from django.contrib.auth import get_user_model
from django.db import connections, router
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone
from knox.models import AuthToken

from apps.eventlog import store
from apps.eventlog.admin.log import EventAdmin
from apps.eventlog.dispatch import dispatch
from apps.eventlog.models import Job, Relay, StoredEvent
from apps.eventlog.projectors import Projector
from apps.eventlog.relay import heartbeats
from apps.eventlog.relay.cloud_events import Only
from apps.eventlog.relay.webhooks import endpoints
from apps.eventlog.relay.webhooks.models import Endpoint
from apps.orders.events import OrderLine
from apps.orders.models import DeadLetter as OrderDeadLetter
from apps.orders.write.commands import PayOrder, PlaceOrder, ShipOrder
from apps.users.write.commands import DeactivateUser, RegisterUser
from tests.support.history import make_history

LABELS = settings.OWN_DATABASES
OURS = [model for model in admin.site._registry if model._meta.app_label in LABELS]

WASTEFUL = ("COUNT", "DISTINCT", "OFFSET")


@pytest.fixture
def browser() -> Client:
    client = Client()
    client.force_login(get_user_model().objects.create_superuser("admin"))
    return client


def url(model: Any, page: str, *arguments: object) -> str:
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_{page}", args=arguments)


def customer_with_order() -> tuple[UUID, UUID]:
    ann, order = uuid4(), uuid4()
    dispatch(RegisterUser(ann, "ann@example.org", "Ann"))
    dispatch(PlaceOrder(order, ann, "EUR", (OrderLine("A-1", 2, Decimal("1.50")),)))
    return ann, order


@pytest.mark.parametrize("model", OURS, ids=lambda model: model._meta.label)
def test_every_list_and_page_opens_and_nothing_can_be_changed(browser: Client, model: Any) -> None:
    make_history(users=3, commands=20)
    before = list(StoredEvent.objects.values())
    assert browser.get(url(model, "changelist")).status_code == 200
    assert browser.get(url(model, "add")).status_code == browser.post(url(model, "add"), {}).status_code == 403
    row = model._default_manager.first()
    if row is not None:
        assert browser.get(url(model, "change", row.pk)).status_code == 200
        fields = {field.name: "1" for field in model._meta.fields} | {"_save": "Save"}
        assert browser.post(url(model, "change", row.pk), fields).status_code == 403
        assert browser.post(url(model, "delete", row.pk), {"post": "yes"}).status_code == 403
        for action in ({"action": "delete_selected", "post": "yes"}, {"_save": "Save", "form-TOTAL_FORMS": "1"}):
            browser.post(url(model, "changelist"), action | {"_selected_action": [row.pk]})
        assert model._default_manager.filter(pk=row.pk).exists()
    assert list(StoredEvent.objects.values()) == before


def test_the_walk_covers_every_table_of_ours() -> None:
    tables = {model for model in apps.get_models() if model._meta.app_label in LABELS}
    assert tables == set(OURS)


def test_the_index_has_the_business_first_and_the_machinery_last(browser: Client) -> None:
    groups = browser.get("/admin/").context["app_list"]
    names = [group["name"] for group in groups]
    assert names[: len(settings.SERVICES)] == [apps.get_app_config(label).verbose_name for label in settings.SERVICES]
    assert names[-1] == "Machinery"
    assert len(set(names)) == len(names)
    models = {group["name"]: [model["name"] for model in group["models"]] for group in groups}
    assert models[apps.get_app_config(settings.EVENTLOG).verbose_name][:2] == ["Events", "Projectors and reactors"]
    assert {"Logins", "Auth tokens"} <= set(models["Logins"])
    assert "Users" not in models["Logins"]
    of_all = [name for group in models.values() for name in group]
    assert {"Seals", "Reservations", "Personal keys"} <= set(models["Machinery"])
    assert models["Machinery"].count("Checkpoints") == len(settings.OWN_DATABASES) - 2  # not of the log and the keys
    assert of_all.count("Users") == 1


def test_a_token_cannot_be_made_in_the_admin_and_can_be_revoked(browser: Client) -> None:
    token, _ = AuthToken.objects.create(get_user_model().objects.get())
    page = "/admin/knox/authtoken/"
    assert browser.get(page).status_code == 200
    assert browser.get("/admin/knox/").status_code == 200
    assert browser.post(f"{page}add/", {"user": token.user_id}).status_code == 403
    browser.post(f"{page}{token.pk}/delete/", {"post": "yes"})
    assert not AuthToken.objects.exists()


def positions(page: Any) -> list[int]:
    return [event.pk for event in page.context["cl"].result_list]


def visited(browser: Client, start: str, step: str, path: str = "/admin/eventlog/storedevent/") -> list[list[Any]]:
    """The keys on each page of a list, by default that of the events, from one page on to the last by its links."""
    pages, link = [], start
    while True:
        page = browser.get(f"{path}{link}")
        pages.append(positions(page))
        link = getattr(page.context["cl"], step)
        if not link:
            return pages


@pytest.mark.parametrize("query", ["?", "?category=order", "?since=2020-01-01T00:00"])
def test_the_pages_of_the_log_hold_every_event_once(
    browser: Client, monkeypatch: pytest.MonkeyPatch, query: str
) -> None:
    make_history(users=3, commands=15)
    monkeypatch.setattr(EventAdmin, "list_per_page", 4)
    where = dict(part.split("=") for part in query[1:].split("&") if part.startswith("category"))
    every = list(StoredEvent.objects.filter(**where).reverse().values_list("position", flat=True))
    down = visited(browser, query, "next")
    assert [position for page in down for position in page] == every
    last = browser.get(f"/admin/eventlog/storedevent/{query}").context["cl"].last
    up = visited(browser, last, "previous")
    assert up[0] == every[-4:]
    assert sorted({position for page in up for position in page}, reverse=True) == every
    assert up[-1] == every[:4]


def test_the_pages_of_every_list_hold_every_row_once_and_none_counts(
    browser: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_history(users=3, commands=15)
    for model in OURS:
        monkeypatch.setattr(admin.site._registry[model], "list_per_page", 3)
        with CaptureQueriesContext(connections[router.db_for_read(model)]) as captured:
            pages = visited(browser, "?", "next", url(model, "changelist"))
        rows = set(model._default_manager.values_list("pk", flat=True))
        assert (model, len(pages)) == (model, max(1, -(-len(rows) // 3)))
        assert {key for page in pages for key in page} == rows
        assert not rows or captured.captured_queries
        assert [q["sql"] for q in captured if any(word in q["sql"] for word in WASTEFUL)] == []


def test_the_log_is_never_counted_and_never_searched_for_choices(browser: Client) -> None:
    make_history(users=3, commands=20)
    page = StoredEvent.objects.last()
    for query in ("?", "?p=9", "?type=orders.OrderPlaced", f"?q={page.stream}", "?_facets=True", "?all="):
        with CaptureQueriesContext(connections["eventlog"]) as captured:
            assert browser.get(f"/admin/eventlog/storedevent/{query}").status_code == 200
        assert captured.captured_queries
        assert [q["sql"] for q in captured if any(word in q["sql"] for word in WASTEFUL)] == []
        assert all("LIMIT" in q["sql"] for q in captured)


def test_a_row_is_found_by_its_id_and_an_order_by_its_customer(browser: Client) -> None:
    ann, order = customer_with_order()
    dispatch(PayOrder(order, "PAY-17"))
    registered, placed, _ = StoredEvent.objects.all()
    of_order = (order, ann, str(order)[:6], str(order)[:13], f"order-{order}", placed.event_id, "Ann", "PAY-17")
    of_user = (ann, "Ann", "ANN@example.org", str(ann)[:4], f"user-{ann}", registered.event_id)
    for path, terms in (("orders/order", of_order), ("users/user", of_user)):
        for term in terms:
            assert (term, len(positions(browser.get(f"/admin/{path}/", {"q": term})))) == (term, 1)
        for term in (uuid4(), "nobody", "PAY-1", "%", "_", "order-", "dead"):
            assert (term, positions(browser.get(f"/admin/{path}/", {"q": term}))) == (term, [])
    for term, found in ((order, [3, 2]), (f"order-{str(order)[:9]}", [3, 2]), (str(ann)[:13], [1])):
        assert positions(browser.get("/admin/eventlog/storedevent/", {"q": term})) == found
    assert positions(browser.get("/admin/orders/order/?currency=EUR")) == [order]
    assert positions(browser.get("/admin/orders/order/?currency=USD")) == []


def test_the_log_is_filtered_by_time_correlation_and_stream(browser: Client) -> None:
    ann, order = customer_with_order()
    dispatch(DeactivateUser(ann, "left"))
    registered, placed, deactivated, cancelled = StoredEvent.objects.all()

    def shown(**query: Any) -> list[int]:
        return positions(browser.get("/admin/eventlog/storedevent/", query))

    assert shown(correlation_id=deactivated.correlation_id) == [cancelled.position, deactivated.position]
    assert shown(q=f"order-{order}") == [cancelled.position, placed.position]
    assert shown(q=placed.event_id) == shown(q=placed.position) == [placed.position]
    assert shown(since="2100-01-01T00:00") == shown(until="2000-01-01T00:00") == shown(q="order-x") == []
    assert shown(type="users.UserRegistered", until="2100-01-01T00:00:00") == [registered.position]
    assert len(shown(since="nonsense", correlation_id="")) == 4


@pytest.mark.parametrize(
    "query", ["p=-1", "p=x", f"p={10**30}", f"q={10**30}", "q=%F0%9F%8D%B5", "o=9.9", "category=x", "nothing=1"]
)
def test_odd_questions_to_the_log_are_answered(browser: Client, query: str) -> None:
    customer_with_order()
    assert browser.get(f"/admin/eventlog/storedevent/?{query}", follow=True).status_code == 200


def test_an_event_shows_its_neighbours_and_what_its_request_caused(browser: Client) -> None:
    ann, order = customer_with_order()
    dispatch(DeactivateUser(ann, "left"))
    placed, cancelled = StoredEvent.objects.filter(stream=f"order-{order}")
    page = browser.get(url(type(cancelled), "change", cancelled.pk)).content.decode()
    assert "Everything this request caused" in page
    assert page.index("users.UserDeactivated") < page.index("orders.OrderCancelled</b>")
    assert url(type(placed), "change", placed.pk) in page
    assert "the customer was deactivated" in page


def test_what_somebody_has_typed_runs_in_no_page(browser: Client) -> None:
    ann, typed = uuid4(), "</script><script>alert(1)</script>\"'><img src=x onerror=alert(1)>"
    dispatch(RegisterUser(ann, "ann@example.org", typed))
    dispatch(DeactivateUser(ann, typed))
    paths = ["admin/users/user/", f"admin/users/user/{ann}/change/", f"admin/users/user/?q={quote(typed)}"]
    paths += [f"admin/eventlog/storedevent/{store.head()}/change/", f"api/users/{ann}/history/", f"api/users/{ann}/"]
    for path in paths:
        page = browser.get(f"/{path}", headers={"Accept": "text/html"}).content.decode()
        assert "alert(1)" in page, path
        assert not [each for each in ("<script>alert", "<img src=x", "\"'>") if each in page], path


def test_orders_are_cancelled_with_a_reason_and_refusals_are_told(browser: Client) -> None:
    ann, placed = customer_with_order()
    shipped = uuid4()
    dispatch(PlaceOrder(shipped, ann, "EUR", (OrderLine("A-1", 1, Decimal("1.00")),)))
    dispatch(PayOrder(shipped, "p"))
    dispatch(ShipOrder(shipped, "t"))
    chosen = {"action": "cancel", "_selected_action": [str(placed), str(shipped)]}
    asked = browser.post("/admin/orders/order/", chosen)
    assert b'name="reason"' in asked.content
    too_long = browser.post("/admin/orders/order/", chosen | {"reason": "x" * 501})
    assert b"at most 500" in too_long.content
    done = browser.post("/admin/orders/order/", chosen | {"reason": "a test"}, follow=True).content.decode()
    assert "Cancel: 1 of 2 done" in done
    assert "refused, only a placed or paid order can be cancelled" in done
    *_, event = store.read_stream(f"order-{placed}")
    assert (event.data, event.metadata["actor"]) == ({"reason": "a test", "cause": "requested"}, "admin")


def test_what_will_follow_is_said_before_and_the_filter_stays(browser: Client) -> None:
    ann, placed = customer_with_order()
    chosen = {"action": "deactivate", "_selected_action": [str(ann)]}
    asked = browser.post("/admin/users/user/?status__exact=active", chosen).content.decode()
    assert "1 unpaid order will be cancelled" in asked
    assert 'action="/admin/users/user/?status__exact=active"' in asked
    done = browser.post("/admin/users/user/?status__exact=active", chosen | {"confirm": "1", "reason": "left"})
    assert done.headers["Location"] == "/admin/users/user/?status__exact=active"
    page = browser.get(f"/admin/users/user/{ann}/change/").content.decode()
    assert "see what followed" in page
    assert ["reactivate" in page, "deactivate" in page] == [True, False]
    cancelled = browser.get(f"/admin/orders/order/{placed}/change/").content.decode()
    assert "users.UserDeactivated</a> of" in cancelled  # its history says why
    assert 'value="cancel"' not in cancelled
    chosen = {"action": "reactivate", "_selected_action": [str(ann)], "from_row": "1"}
    assert "stay cancelled" in browser.post("/admin/users/user/", chosen).content.decode()
    done = browser.post("/admin/users/user/", chosen | {"confirm": "1"}, follow=True)
    assert done.redirect_chain == [(f"/admin/users/user/{ann}/change/", 302)]
    assert "Reactivate: 1 of 1 done" in done.content.decode()


def test_a_person_is_erased_only_if_the_id_is_typed(browser: Client) -> None:
    ann, _ = customer_with_order()
    chosen = {"action": "erase", "_selected_action": [str(ann)], "confirm": "1", "reason": "asked for it"}
    for confirmed in ({}, {"confirmed": "yes"}, {"confirmed": str(uuid4())}):
        asked = browser.post("/admin/users/user/", chosen | confirmed)
        assert b"Type the id" in asked.content
    assert store.head() == 2
    browser.post("/admin/users/user/", chosen | {"confirmed": f" {ann} ".upper()})
    assert store.last(f"user-{ann}").type == "users.UserErased"  # type: ignore[union-attr]
    page = browser.get(f"/admin/users/user/{ann}/change/").content.decode()
    assert 'name="action"' not in page  # nothing is possible any more


def test_a_failure_is_not_green(browser: Client) -> None:
    ann, _ = customer_with_order()
    dispatch(DeactivateUser(ann, "left"))
    chosen = {"action": "deactivate", "_selected_action": [str(ann)]}
    for body in (chosen, chosen | {"reason": "again"}):
        [message] = browser.post("/admin/users/user/", body, follow=True).context["messages"]
        assert (message.level_tag, "0 of 1 done" in str(message)) == ("error", True)


def test_one_search_finds_all_that_somebody_may_see(browser: Client) -> None:
    ann, order = customer_with_order()
    page = browser.get("/admin/find/", {"q": "Ann"}).content.decode()
    assert f"/admin/users/user/{ann}/change/" in page
    assert f"/admin/orders/order/{order}/change/" in page
    assert browser.get("/admin/find/", {"q": "ann@example.org"}).headers["Location"].endswith(f"{ann}/change/")
    for term in ("", "x" * 5000, "nobody", "'\"<b>", str(uuid4())):
        assert browser.get("/admin/find/", {"q": term}).status_code == 200


def test_a_row_whose_stream_is_set_aside_says_so(browser: Client) -> None:
    ann, order = customer_with_order()
    OrderDeadLetter.objects.create(projector="OrderProjector", stream=f"order-{order}", position=2, status="failed")
    said = "OrderProjector has set aside 1 event of this stream"
    assert said in browser.get(f"/admin/orders/order/{order}/change/").content.decode()
    assert said not in browser.get(f"/admin/users/user/{ann}/change/").content.decode()
    assert "so the rows do not show everything" in browser.get("/admin/orders/order/").content.decode()
    index = browser.get("/admin/").content.decode()
    assert 'href="/admin/orders/deadletter/?projector=OrderProjector&amp;status=open"' in index
    [fault] = browser.get("/admin/wrong/").json()["faults"]
    assert len(positions(browser.get(fault["page"]))) == 1
    OrderDeadLetter.objects.update(status="retried")
    assert browser.get("/admin/wrong/").json() == {"faults": []}
    assert positions(browser.get(fault["page"])) == []


def test_what_is_wrong_leads_to_a_page_that_is_there(browser: Client) -> None:
    customer_with_order()
    heartbeats.beat("nats://a:4222,b:4222/EVENTS_1", {}, store.event_at(1).place, "no <b>responders</b>")
    endpoint, _ = endpoints.create("https://example.org/hook")
    Endpoint.objects.update(failing_since=timezone.now(), last_error="<script>alert(1)</script>")
    for kind, outcome in (("verify", "2 differences"), ("rebuild", "Failed: ValueError")):
        now = {"started_at": timezone.now(), "beat_at": timezone.now(), "finished_at": timezone.now()}
        Job.objects.create(
            id=uuid4(), projector={"verify": "UserProjector", "rebuild": "OrderProjector"}[kind], kind=kind,
            outcome=outcome, differences=[["users_user", "1", "name"]] * (kind == "verify"), **now,
        )  # fmt: skip
    found = browser.get("/admin/wrong/").json()["faults"]
    said = " ".join(each["text"] for each in found)
    for part in ("cannot send: no <b>", "fails since", "is not as the log says: 2 differences", "Failed: ValueError"):
        assert part in said
    for fault in found:
        assert (fault, browser.get(fault["page"]).status_code) == (fault, 200)
    assert "<script>alert" not in browser.get("/admin/").content.decode()
    Endpoint.objects.update(active=False, last_error="the answer was 410")
    assert "has stopped" in browser.get("/admin/wrong/").content.decode()
    endpoints.change(endpoint.pk, {"url": "https://example.org/2"})
    Endpoint.objects.update(last_error="no connection")  # switched off by somebody, so it is no fault
    assert str(endpoint.pk) not in browser.get("/admin/wrong/").content.decode()


def test_what_is_chosen_and_gone_is_no_fault(browser: Client) -> None:
    for action in ("erase", "deactivate"):
        chosen = {"action": action, "_selected_action": [str(uuid4())], "confirm": "1", "reason": "x"}
        [message] = browser.post("/admin/users/user/", chosen, follow=True).context["messages"]
        assert message.level_tag == "warning"


def test_every_row_that_follows_a_stream_is_shown_as_it_was(browser: Client) -> None:
    ann, order = customer_with_order()
    dispatch(PayOrder(order, "PAY-1"))
    then = f"/admin/orders/order/{order}/then/"
    assert browser.get(then, {"version": 1}).json()["status"] == "placed"
    assert browser.get(then, {"at": "2100-01-01T00:00:00Z"}).json()["status"] == "paid"
    assert browser.get(f"/admin/orders/customer/{ann}/then/", {"version": 1}).json()["name"] == "Ann"
    for query, status in (({"at": "2000-01-01T00:00:00Z"}, 404), ({"version": 9}, 404), ({"version": "x"}, 400)):
        assert browser.get(then, query).status_code == status


def test_users_are_deactivated_with_a_reason(browser: Client) -> None:
    ann, _ = customer_with_order()
    chosen = {"action": "deactivate", "_selected_action": [str(ann)], "reason": "a test"}
    assert "Deactivate: 1 of 1 done" in browser.post("/admin/users/user/", chosen, follow=True).content.decode()


def test_the_page_is_live_for_staff_and_plain_for_others(browser: Client, settings: Any) -> None:
    live = browser.get("/")
    assert b"eventlog/live.js" in live.content
    assert "script-src 'self'" in live.headers["Content-Security-Policy"]
    assert b"live.js" not in Client().get("/").content
    assert Client().post("/demo-login/").status_code == 404
    settings.DEBUG = True
    assert Client().post("/demo-login/").status_code == 404  # no admin with that password here


def test_the_status_says_how_far_each_projector_is(browser: Client) -> None:
    make_history(users=2, commands=10)
    status = browser.get("/api/events/status/", headers={"Accept": "application/json"}).json()
    assert status["head"] == store.head()
    assert {each["name"] for each in status["projectors"]} == set(Projector.registry)
    assert {(each["lag"], each["dead_letters"]) for each in status["projectors"]} == {(0, 0)}


def test_a_relay_that_does_not_run_any_more_can_be_forgotten_and_one_that_runs_cannot(browser: Client) -> None:
    heartbeats.beat("nats://here/events", Only(category=None, types=None), None, "no responders")
    page = url(Relay, "delete", quote_of("nats://here/events"))
    assert browser.post(page, {"post": "yes"}).status_code == 403
    Relay.objects.update(beat_at=timezone.now() - heartbeats.ALIVE)
    assert browser.post(page, {"post": "yes"}).status_code == 302
    assert heartbeats.relays() == []
