"""Every route by every role: who may, and what the others are told."""

import re
from collections.abc import Iterator
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.contrib.auth import get_user_model
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver, path
from knox.models import AuthToken
from rest_framework.views import APIView

from apps.eventlog.dispatch import dispatch
from apps.orders.events import OrderLine
from apps.orders.write.commands import PayOrder, PlaceOrder, ShipOrder
from apps.users.write import logins
from apps.users.write.commands import DeactivateUser, EraseUser, RegisterUser
from tests.support.api import PASSWORD, Answer, Api

ROLES = ("owner", "other", "staff")

# 403 not for you, 404 not yours, so not there. A service without a row here is asked by outsiders alone.
TABLE = {
    # route                                     owner other staff
    "GET api/users/": (200, 200, 200),
    "POST api/users/": (201, 201, 201),
    "GET api/users/<uuid:pk>/": (200, 404, 200),
    "GET api/users/<uuid:pk>/history/": (200, 404, 200),
    "GET api/users/<uuid:pk>/personal-data/": (200, 404, 200),
    "POST api/users/<uuid:pk>/rename/": (202, 404, 202),
    "POST api/users/<uuid:pk>/change-email/": (202, 404, 202),
    "POST api/users/<uuid:pk>/deactivate/": (202, 404, 202),
    "POST api/users/<uuid:pk>/reactivate/": (403, 404, 202),
    "POST api/users/<uuid:pk>/erase/": (202, 404, 202),
    "POST api/auth/login/": (200, 200, 200),  # as the owner, whoever sends it
    "POST api/auth/logout/": (204, 204, 204),
    "POST api/auth/logout-all/": (204, 204, 204),
    "GET api/orders/": (200, 200, 200),
    "POST api/orders/": (201, 404, 201),  # for the owner
    "GET api/orders/summary/": (403, 403, 200),
    "GET api/orders/<uuid:pk>/": (200, 404, 200),
    "GET api/orders/<uuid:pk>/history/": (200, 404, 200),
    "POST api/orders/<uuid:pk>/pay/": (202, 404, 202),
    "POST api/orders/<uuid:pk>/ship/": (403, 404, 202),
    "POST api/orders/<uuid:pk>/deliver/": (403, 404, 202),
    "POST api/orders/<uuid:pk>/cancel/": (202, 404, 202),
    "GET api/events/": (403, 403, 200),
    "GET api/events/catalog/": (403, 403, 200),
    "GET api/events/status/": (403, 403, 200),
    "GET api/events/stream/": (503, 503, 503),  # let in, but the test client is no ASGI server
    "GET api/schema/": (200, 200, 200),
    "GET api/docs/": (200, 200, 200),
    "GET ": (200, 200, 200),
    "GET demo-login/": (405, 405, 405),  # POST under DEBUG alone
}

# Outsiders are nobody, and people whose token has ended with their account: 401, but for what is open to everybody.
OUTSIDERS = ("nobody", "deactivated", "erased")
OPEN = {
    "POST api/users/": 201,
    "POST api/auth/login/": 200,
    "GET api/schema/": 200,
    "GET api/docs/": 200,
    "GET ": 200,
    "GET demo-login/": 405,
}
TAKES_NO_TOKEN = {"POST api/auth/login/", "GET ", "GET demo-login/"}  # elsewhere a token that has ended is 401 too

LINE = {"sku": "A", "quantity": 1, "unit_price": "1.00"}
BODIES: dict[str, dict[str, Any]] = {
    "rename": {"name": "Anna"},
    "deactivate": {"reason": "left"},
    "pay": {"payment_reference": "p"},
    "ship": {"tracking_number": "t"},
    "cancel": {"reason": "changed my mind"},
}


def routes(resolver: Any, prefix: str = "") -> Iterator[tuple[str, str, Any]]:
    """Method, path and view of every route but the admin's."""
    for pattern in resolver.url_patterns:
        where = f"{prefix}{pattern.pattern}"
        if isinstance(pattern, URLResolver):
            if where != "admin/":
                yield from routes(pattern, where)
            continue
        for method in getattr(pattern.callback, "actions", None) or ("get",):
            if method != "head":
                yield method.upper(), where, pattern.callback


def service_of(callback: Any) -> str:
    """The service that a view belongs to; empty if it is none of ours."""
    module = getattr(callback, "cls", callback).__module__
    return module.split(".")[1] if module.startswith("apps.") else ""


def undeclared(callback: Any) -> bool:
    """Does nobody say who may call this view of the API?"""
    kind = callback.cls
    says_so = any("permission_classes" in vars(each) for each in kind.__mro__ if each is not APIView)
    return not says_so and "permission_classes" not in getattr(callback, "initkwargs", {})


def test_every_route_has_a_row_and_every_row_a_route() -> None:
    found = {f"{method} {where}": service_of(view) for method, where, view in routes(get_resolver())}
    in_table = {service for route, service in found.items() if route in TABLE}
    assert {route for route, service in found.items() if service in in_table} == set(TABLE)


def test_every_route_of_the_api_says_who_may() -> None:
    assert [where for _, where, view in routes(get_resolver()) if where.startswith("api/") and undeclared(view)] == []


def test_a_route_that_is_new_or_says_nothing_is_found() -> None:
    class Anything(APIView):
        pass

    new = URLResolver(get_resolver().pattern, [path("api/anything/", Anything.as_view())])
    [(method, where, view)] = routes(new)
    assert f"{method} {where.lstrip('^/')}" not in TABLE
    assert undeclared(view)


class World:
    """A customer with an order, and everybody who might want something of them."""

    def __init__(self, api: Api) -> None:
        self.people = {
            "nobody": api,
            "other": self.person("other"),
            "staff": api.staff,
            "deactivated": self.person("deactivated"),
            "erased": self.person("erased"),
        }
        dispatch(DeactivateUser(UUID(self.people["deactivated"].user_id), "left"))
        dispatch(EraseUser(UUID(self.people["erased"].user_id), "asked for"))
        self.untouched = self.subject()  # as long as only those ask who are refused, or who only read

    def person(self, name: str) -> Api:
        user_id = uuid4()
        with logins.opening(user_id, PASSWORD):
            dispatch(RegisterUser(user_id, f"{name}-{user_id}@example.org", name))
        return Api(AuthToken.objects.create(get_user_model().objects.get(username=user_id))[1], str(user_id))

    def subject(self) -> tuple[Api, UUID]:
        owner, order_id = self.person("owner"), uuid4()
        dispatch(PlaceOrder(order_id, UUID(owner.user_id), "EUR", (OrderLine("A", 1, Decimal("1.00")),)))
        return owner, order_id

    def ask(self, route: str, role: str) -> Answer:
        """One request by one role, about an owner and an order that nobody has touched."""
        method, _, where = route.partition(" ")
        owner, order_id = self.subject() if method == "POST" and role in {"owner", "staff"} else self.untouched
        action = where.rstrip("/").rpartition("/")[2]
        if role == "staff":
            self.prepare(action, owner, order_id)
        sender = owner if role == "owner" else self.people[role]
        if action.startswith("logout") and role in {"other", "staff"}:
            sender = self.person(role)  # whose token it may end
        where = re.sub("<.*?>", str(order_id) if "orders" in where else owner.user_id, where)
        if method == "POST":
            return sender.post(where.removeprefix("api/"), self.body(where, action, role, owner))
        return Answer(sender.client.get(f"/{where}", headers=sender.headers))

    def prepare(self, action: str, owner: Api, order_id: UUID) -> None:
        if action in {"ship", "deliver"}:
            dispatch(PayOrder(order_id, "p"))
        if action == "deliver":
            dispatch(ShipOrder(order_id, "t"))
        if action == "reactivate":
            dispatch(DeactivateUser(UUID(owner.user_id), "left"))

    def body(self, where: str, action: str, role: str, owner: Api) -> dict[str, Any]:
        address = f"owner-{owner.user_id}@example.org"
        if action == "erase":
            return {"reason": "asked for"} if role == "staff" else {"password": PASSWORD}
        if where == "api/orders/":
            return {"currency": "EUR", "lines": [LINE], "customer_id": owner.user_id}
        if where == "api/users/":
            return {"email": f"new-{uuid4()}@example.org", "name": "New", "password": PASSWORD}
        if action == "login":
            return {"username": address, "password": PASSWORD}
        return {"email": f"new-{uuid4()}@example.org"} if action == "change-email" else BODIES.get(action, {})


def test_every_route_answers_every_role_as_the_table_says(api: Api) -> None:
    world = World(api)
    for route, expected in TABLE.items():
        for role, status in zip(ROLES, expected, strict=True):
            expect(world, route, role, status)


def test_every_route_of_every_service_keeps_outsiders_out(api: Api) -> None:
    world = World(api)
    for route in [f"{method} {where}" for method, where, _ in routes(get_resolver())]:
        for role in OUTSIDERS:
            is_open = role == "nobody" or route in TAKES_NO_TOKEN
            expect(world, route, role, OPEN.get(route, 401) if is_open else 401)


def expect(world: World, route: str, role: str, status: int) -> None:
    answer = world.ask(route, role)
    assert (route, role, answer.status) == (route, role, status), answer
    if answer.status >= 400 and " api/" in route:
        assert answer.headers["Content-Type"] == "application/problem+json"


def admin_paths(resolver: Any, prefix: str) -> Iterator[str]:
    for pattern in resolver.url_patterns:
        where = f"{prefix}{pattern.pattern}"
        if isinstance(pattern, URLPattern):
            yield "/" + where.replace("<path:object_id>", "1").replace("<int:content_type_id>/<path:object_id>", "1/1")
        else:
            yield from admin_paths(pattern, where)


def test_every_page_of_the_admin_sends_strangers_to_its_login(api: Api) -> None:
    [admin] = [each for each in get_resolver().url_patterns if str(each.pattern) == "admin/"]
    paths = [where for where in admin_paths(admin, "admin/") if "<" not in where and "(" not in where]
    assert len(paths) > 50
    customer = api.customer()
    session = Client()
    session.force_login(get_user_model().objects.get(username=customer.user_id))
    for client, headers in ((Client(), {}), (Client(), customer.headers), (session, {})):
        for where in paths:
            response = client.get(where, headers=headers)
            if where not in {"/admin/login/", "/admin/jsi18n/"}:
                assert (where, response.status_code) == (where, 302)
                assert "/admin/login/" in response.headers["Location"] or where == "/admin/logout/"


@pytest.mark.parametrize("path", ["users/", "orders/"])
def test_a_list_has_ones_own_alone(api: Api, path: str) -> None:
    ann, bob = api.customer(), api.customer("bob@example.org", "Bob")
    mine = ann.user_id if path == "users/" else ann.place()
    bob.place()
    assert [document["id"] for document in ann.get(path)["results"]] == [mine]
