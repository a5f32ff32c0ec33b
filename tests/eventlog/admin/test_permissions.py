"""Every page and every action of the admin by what a member of staff may."""

import re
from collections.abc import Iterator
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest
from django.conf import settings
from django.contrib import admin
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.http import HttpRequest
from django.test import Client
from django.urls import URLPattern, get_resolver, path, reverse

from apps.eventlog import store
from apps.eventlog.admin.readonly import ReadOnlyAdmin
from apps.eventlog.commands import Actor
from apps.eventlog.dispatch import dispatch
from apps.eventlog.live.credentials import SEE_LOG, Credential, valid
from apps.eventlog.models import Job
from apps.eventlog.relay.webhooks import endpoints
from apps.eventlog.relay.webhooks.models import Endpoint
from apps.eventlog.replay import jobs
from apps.eventlog.repository import Forbidden
from apps.orders.events import OrderLine
from apps.orders.models import DeadLetter, Order
from apps.orders.write.commands import CancelOrder, PlaceOrder
from apps.users.models import User
from apps.users.write.commands import EraseUser, RegisterUser

OURS = (*settings.OWN_DATABASES, "webhooks")
ROLES = ("customer", "plain", "viewer", "changer", "superuser")

# Of every model of ours; 302 is the way to the login page.
OUR_PAGES = {
    #             customer plain viewer changer superuser
    "changelist": (302, 403, 200, 403, 200),
    "change": (302, 403, 200, 403, 200),
    "history": (302, 403, 200, 403, 200),
    "add": (302, 403, 403, 403, 403),
    "delete": (302, 403, 403, 403, 403),
}
# Of endpoints of webhooks, which follow from nothing, so people make and delete them.
ENDPOINT_PAGES = OUR_PAGES | {"add": (302, 403, 403, 403, 200), "delete": (302, 403, 403, 403, 200)}
# Of Django's own models Django asks for its own permissions, which none of these has but the superuser.
OTHER_PAGES = {"changelist": (302, 403, 403, 403, 200)}
SITE_PAGES = {
    "index": (302, 200, 200, 200, 200),
    "app_list": (302, 404, 200, 404, 200),
    "projectors": (302, 403, 200, 403, 200),
    "find": (302, 200, 200, 200, 200),
    "wrong": (302, 200, 200, 200, 200),
    "login": (200, 302, 302, 302, 302),
    "logout": (302, 405, 405, 405, 405),
    "jsi18n": (302, 200, 200, 200, 200),
    "password_change": (302, 200, 200, 200, 200),
    "password_change_done": (302, 200, 200, 200, 200),
}
DJANGOS = {"view_on_site", "autocomplete", "auth_user_password_change"}  # need the permission of what they show
# A service without a row here need only declare what its actions take.
ACTIONS = {
    ("users.User", "deactivate"): "users.change_user",
    ("users.User", "reactivate"): "users.change_user",
    ("users.User", "erase"): "users.erase_user",
    ("orders.Order", "pay"): "orders.change_order",
    ("orders.Order", "ship"): "orders.change_order",
    ("orders.Order", "deliver"): "orders.change_order",
    ("orders.Order", "cancel"): "orders.change_order",
    ("users.DeadLetter", "retry"): "users.change_deadletter",
    ("users.DeadLetter", "skip"): "users.change_deadletter",
    ("orders.DeadLetter", "retry"): "orders.change_deadletter",
    ("orders.DeadLetter", "skip"): "orders.change_deadletter",
    ("webhooks.Endpoint", "stop"): "webhooks.change_endpoint",
    ("webhooks.Endpoint", "start"): "webhooks.change_endpoint",
    ("webhooks.Endpoint", "new_secret"): "webhooks.change_endpoint",
    ("webhooks.Endpoint", "send_again"): "webhooks.change_delivery",
    ("webhooks.Delivery", "send_again"): "webhooks.change_delivery",
    ("webhooks.Delivery", "skip"): "webhooks.change_delivery",
}
DELETE = "delete_selected"  # Django's, which asks for `delete_<model>`, and of our models for nothing that one can have


def staff(*permissions: str) -> Client:
    """A session of a member of staff with these permissions; `view_` and the like are all that begin so."""
    login = get_user_model().objects.create(username=f"staff-{uuid4()}", is_staff=True)
    for permission in Permission.objects.filter(content_type__app_label__in=OURS):
        name = f"{permission.content_type.app_label}.{permission.codename}"
        if name in permissions or any(permission.codename.startswith(each) for each in permissions):
            login.user_permissions.add(permission)
    return session(login)


def session(login: Any) -> Client:
    client = Client()
    client.force_login(login)
    return client


@pytest.fixture
def roles() -> dict[str, Client]:
    logins = get_user_model().objects
    return {
        "customer": session(logins.create(username=str(uuid4()))),
        "plain": staff(),
        "viewer": staff("view_"),
        "changer": staff("change_"),
        "superuser": session(logins.create_superuser("root")),
    }


@pytest.fixture
def order() -> Order:
    """An order of a customer, and an endpoint of webhooks."""
    ann, id = uuid4(), uuid4()
    dispatch(RegisterUser(ann, "ann@example.org", "Ann"))
    dispatch(PlaceOrder(id, ann, "EUR", (OrderLine("A-1", 1, Decimal("1.00")),)))
    endpoints.create("https://example.org/hook")
    return Order.objects.get(pk=id)


def patterns(resolver: Any) -> Iterator[URLPattern]:
    for pattern in resolver.url_patterns:
        if isinstance(pattern, URLPattern):
            yield pattern
        else:
            yield from patterns(pattern)


def undeclared_pages(resolver: Any) -> list[str]:
    """The pages that belong to no model, declare no permission, and are not Django's own."""
    labels = {f"{model._meta.app_label}_{model._meta.model_name}" for model in admin.site._registry}
    known = {f"{label}_{page}" for label in labels for page in OUR_PAGES} | DJANGOS | SITE_PAGES.keys() - {"projectors"}
    found = []
    for pattern in patterns(resolver):
        catch_all = (
            pattern.name is None and "object_id" not in str(pattern.pattern) and "(?P<url>" in str(pattern.pattern)
        )
        old_link = pattern.name is None and str(pattern.pattern) == "<path:object_id>/"  # leads to the change page
        if not (catch_all or old_link or pattern.name in known or hasattr(pattern.callback, "needs")):
            found.append(str(pattern.pattern))
    return found


def undeclared_actions(registry: dict[Any, Any]) -> list[tuple[str, str]]:
    """The actions that say nothing of who may."""
    return [
        (model._meta.label, name)
        for model, page in registry.items()
        for action, name, _ in page._get_base_actions()
        if not getattr(action, "allowed_permissions", ())
    ]


def admin_urls() -> Any:
    [found] = [each for each in get_resolver().url_patterns if str(each.pattern) == "admin/"]
    return found


def test_every_page_and_every_action_declares_what_it_needs() -> None:
    assert undeclared_pages(admin_urls()) == []
    assert undeclared_actions(admin.site._registry) == []
    known = {
        (model._meta.label, name)
        for model, page in admin.site._registry.items()
        for _, name, _ in page._get_base_actions()
    }
    services = {label.partition(".")[0] for label, _ in ACTIONS}
    assert {each for each in known if each[0].partition(".")[0] in services and each[1] != DELETE} == ACTIONS.keys()


def test_a_page_and_an_action_that_declare_nothing_are_found() -> None:
    class Planted(ReadOnlyAdmin):
        actions = ("anything",)

        @admin.action(description="Anything")
        def anything(self, request: HttpRequest, rows: Any) -> None: ...

    page = path("anything/", lambda request: None, name="anything")  # type: ignore[arg-type,return-value]
    urls = type("Resolver", (), {"url_patterns": [page]})
    assert undeclared_pages(urls) == ["anything/"]
    assert undeclared_actions({Order: Planted(Order, admin.site)}) == [("orders.Order", "anything")]


def statuses(roles: dict[str, Client], where: str) -> tuple[int, ...]:
    return tuple(roles[role].get(where).status_code for role in ROLES)


def test_every_page_of_every_model_is_for_those_who_may_see_it(roles: dict[str, Client], order: Order) -> None:
    for model in admin.site._registry:
        label = f"admin:{model._meta.app_label}_{model._meta.model_name}"
        row = model._default_manager.first()
        ours = model._meta.app_label in OURS
        pages = ENDPOINT_PAGES if model is Endpoint else OUR_PAGES if ours else OTHER_PAGES
        for page, expected in pages.items():
            needs_row = page not in ("changelist", "add")
            if row is not None or not needs_row:
                where = reverse(f"{label}_{page}", args=[row.pk] if needs_row else [])  # type: ignore[union-attr]
                assert (where, statuses(roles, where)) == (where, expected)


def test_the_past_of_a_row_is_for_those_who_may_see_it(roles: dict[str, Client], order: Order) -> None:
    rows = (f"orders/order/{order.pk}", f"orders/customer/{order.customer_id}", f"users/user/{order.customer_id}")
    for row in rows:
        where = f"/admin/{row}/then/?version=1"
        assert (where, statuses(roles, where)) == (where, (302, 403, 200, 403, 200))


def test_a_page_links_only_to_what_one_may_see(order: Order) -> None:
    DeadLetter.objects.create(projector="OrderProjector", stream=f"order-{order.pk}", position=2, status="failed")
    where, user = f"/admin/orders/order/{order.pk}/change/", f"/admin/users/user/{order.customer_id}/change/"
    letters = "/admin/orders/deadletter/?"
    for permissions, links in ((("users.view_user",), (True, False)), (("orders.view_deadletter",), (False, True))):
        page = staff("orders.view_order", *permissions).get(where).content.decode()
        assert (user in page, letters in page) == links
        assert "Ann" in page  # the name is there, with a link or without
    told = [
        staff(*each).get("/admin/wrong/").json()["faults"] for each in ((), ("orders.view_deadletter",), (SEE_LOG,))
    ]
    assert [len(each) for each in told] == [0, 1, 1]
    assert [each["page"] for (each,) in told[1:]] == [told[1][0]["page"], None]
    found = staff("orders.view_order").get("/admin/find/?q=Ann")
    assert found.headers["Location"] == where  # the user is not found, who may not be seen
    assert b"Nothing that you may see" in staff().get("/admin/find/?q=Ann").content


def test_every_other_page_is_as_the_table_says(roles: dict[str, Client]) -> None:
    for page, expected in SITE_PAGES.items():
        where = reverse(f"admin:{page}", args=["orders"] if page == "app_list" else [])
        if page != "logout":
            assert (page, statuses(roles, where)) == (page, expected)


@pytest.mark.parametrize(("label", "name"), ACTIONS)
def test_an_action_is_offered_to_those_who_have_its_permission(order: Order, label: str, name: str) -> None:
    needed = ACTIONS[label, name]
    app, model = label.lower().split(".")
    view = f"{app}.view_{model}"
    others = [f"{p.content_type.app_label}.{p.codename}" for p in Permission.objects.select_related("content_type")]
    others.remove(needed)
    for client, offered in ((staff(view), False), (staff(*others), False), (staff(view, needed), True)):
        page = client.get(f"/admin/{app}/{model}/")
        actions = page.context["cl"].model_admin.get_actions(page.wsgi_request)
        assert (name in actions) is offered


def test_an_action_that_is_sent_all_the_same_does_nothing(order: Order) -> None:
    before = store.head()
    for app, model, name, row in (
        ("users", "user", "erase", order.customer_id),
        ("orders", "order", "cancel", order.pk),
    ):
        chosen = {"action": name, "_selected_action": [str(row)], "reason": "a test", "confirmed": str(row)}
        viewer = staff("view_", "users.change_user" if name == "erase" else "users.erase_user")
        viewer.post(f"/admin/{app}/{model}/", chosen)
        assert store.head() == before
        needed = ACTIONS[f"{app}.{model.capitalize()}", name]
        staff(f"{app}.view_{model}", needed).post(f"/admin/{app}/{model}/", chosen)
        assert store.head() > before
        before = store.head()


def test_a_command_asks_for_its_permission_whatever_sent_it(order: Order) -> None:
    nobody = Actor("clerk", is_staff=True)
    seeing = Actor("clerk", is_staff=True, has_perm=lambda name: name == "orders.view_order")
    for actor in (nobody, seeing):
        with pytest.raises(Forbidden, match=re.escape("orders.change_order")):
            dispatch(CancelOrder(order.pk, "a test"), actor=actor)
    changing = Actor("clerk", is_staff=True, has_perm=lambda name: name == "users.change_user")
    with pytest.raises(Forbidden, match=re.escape("users.erase_user")):
        dispatch(EraseUser(order.customer_id, "a test"), actor=changing)


def test_a_rebuild_is_started_by_those_who_may_run_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[str] = []
    monkeypatch.setattr(jobs, "start", lambda kind, what, by: started.append(what))
    form = {"projector": "OrderProjector", "kind": Job.Kind.VERIFY}
    for client in (staff("view_"), staff("view_", "change_")):
        assert b'name="kind"' not in client.get("/admin/projectors/").content
        assert client.post("/admin/projectors/", form).status_code == 403
    runner = staff("eventlog.view_job", "eventlog.run_job")
    assert b'name="kind"' in runner.get("/admin/projectors/").content
    assert runner.post("/admin/projectors/", form).status_code == 302
    assert started == ["verify"]


def test_the_permissions_of_every_service_can_be_given() -> None:
    names = {f"{p.content_type.app_label}.{p.codename}" for p in Permission.objects.select_related("content_type")}
    assert {"users.erase_user", "eventlog.run_job", *ACTIONS.values()} <= names
    assert {model._meta.label for model in (User, Order, DeadLetter)} <= {label for label, _ in ACTIONS}


def test_a_stream_ends_when_its_login_may_no_longer_see_the_log() -> None:
    viewer = staff(SEE_LOG)
    login = get_user_model().objects.get()
    credential = Credential(login.username, is_staff=True, session=viewer.session.session_key or "")
    assert valid({credential}) == {credential}
    login.user_permissions.clear()
    assert valid({credential}) == set()


def test_the_live_page_is_for_those_who_may_see_the_log() -> None:
    assert b"eventlog/live.js" in staff(SEE_LOG).get("/").content
    page = staff().get("/").content
    assert b"eventlog/live.js" not in page
    assert SEE_LOG.encode() in page
