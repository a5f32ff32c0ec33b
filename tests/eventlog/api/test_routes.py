"""Every route by every role: who may, and what the others are told."""

import re
from collections.abc import Iterator
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver, path
from django.utils import timezone
from knox.models import AuthToken
from rest_framework.response import Response
from rest_framework.test import APIRequestFactory, force_authenticate
from rest_framework.views import APIView
from rest_framework.viewsets import ViewSet

from apps.eventlog.api.access import DeclaredAccess, declared
from apps.eventlog.dispatch import dispatch
from apps.eventlog.live.credentials import SEE_LOG
from apps.eventlog.relay.webhooks import endpoints
from apps.eventlog.relay.webhooks.models import Delivery
from apps.orders.events import OrderLine
from apps.orders.write.commands import PayOrder, PlaceOrder, ShipOrder
from apps.users.write import logins
from apps.users.write.commands import DeactivateUser, EraseUser, RegisterUser
from tests.support.api import PASSWORD, Answer, Api

ROLES = ("owner", "other", "plain", "viewer", "changer", "superuser")
STAFF = ROLES[2:]

# 403 not for you, 404 not yours, so not there. The kinds of staff: `plain` has no permission, `viewer` may see
# everything, and `changer` may change everything, but neither see nor erase.
KINDS = {
    # what is declared      customers anyone   owner other plain viewer changer superuser
    "list": ((True, False), (200, 200, 403, 200, 403, 200)),
    "see": ((True, False), (200, 404, 403, 200, 403, 200)),
    "see as staff": ((False, False), (403, 403, 403, 200, 403, 200)),
    "stream": ((True, False), (503, 503, 403, 503, 403, 503)),  # let in, but the test client is no ASGI server
    "send": ((True, False), (202, 404, 403, 403, 202, 202)),
    "send as staff": ((True, False), (403, 404, 403, 403, 202, 202)),  # the handler says `staff_only`
    "erase": ((True, False), (202, 404, 403, 403, 403, 202)),
    "place": ((True, False), (201, 404, 403, 403, 201, 201)),  # for the owner
    "register": ((True, True), (201, 201, 403, 403, 201, 201)),
    "log in": ((False, True), (200, 200, 200, 200, 200, 200)),  # as the owner, whoever sends it
    "add": ((False, False), (403, 403, 403, 403, 403, 201)),
    "change": ((False, False), (403, 403, 403, 403, 200, 200)),
    "act": ((False, False), (403, 403, 403, 403, 202, 202)),
    "delete": ((False, False), (403, 403, 403, 403, 403, 204)),
    "log out": ((False, False), (204, 204, 204, 204, 204, 204)),
    "change one's password": ((False, False), (204, 204, 401, 401, 401, 401)),  # these staff have none
}
SEE_USERS, CHANGE_USERS, ERASE = "users.view_user", "users.change_user", "users.erase_user"
SEE_ORDERS, CHANGE_ORDERS = "orders.view_order", "orders.change_order"
# A service without a row here is asked by outsiders alone.
TABLE = {
    "GET api/users/": ("list", SEE_USERS),
    "POST api/users/": ("register", CHANGE_USERS),
    "GET api/users/<uuid:pk>/": ("see", SEE_USERS),
    "GET api/users/<uuid:pk>/history/": ("see", SEE_USERS),
    "GET api/users/<uuid:pk>/personal-data/": ("see", SEE_USERS),
    "POST api/users/<uuid:pk>/rename/": ("send", CHANGE_USERS),
    "POST api/users/<uuid:pk>/change-email/": ("send", CHANGE_USERS),
    "POST api/users/<uuid:pk>/deactivate/": ("send", CHANGE_USERS),
    "POST api/users/<uuid:pk>/reactivate/": ("send as staff", CHANGE_USERS),
    "POST api/users/<uuid:pk>/erase/": ("erase", ERASE),
    "POST api/auth/login/": ("log in", ""),
    "POST api/auth/change-password/": ("change one's password", ""),
    "POST api/auth/logout/": ("log out", ""),
    "POST api/auth/logout-all/": ("log out", ""),
    "GET api/orders/": ("list", SEE_ORDERS),
    "POST api/orders/": ("place", CHANGE_ORDERS),
    "GET api/orders/summary/": ("see as staff", "orders.view_ordersummary"),
    "GET api/orders/<uuid:pk>/": ("see", SEE_ORDERS),
    "GET api/orders/<uuid:pk>/history/": ("see", SEE_ORDERS),
    "POST api/orders/<uuid:pk>/pay/": ("send", CHANGE_ORDERS),
    "POST api/orders/<uuid:pk>/ship/": ("send as staff", CHANGE_ORDERS),
    "POST api/orders/<uuid:pk>/deliver/": ("send as staff", CHANGE_ORDERS),
    "POST api/orders/<uuid:pk>/cancel/": ("send", CHANGE_ORDERS),
    "GET api/events/": ("see as staff", SEE_LOG),
    "GET api/events/asyncapi/": ("see as staff", SEE_LOG),
    "GET api/events/catalog/": ("see as staff", SEE_LOG),
    "GET api/events/status/": ("see as staff", SEE_LOG),
    "GET api/events/stream/": ("stream", SEE_LOG),
    "GET api/webhooks/": ("see as staff", "webhooks.view_endpoint"),
    "POST api/webhooks/": ("add", "webhooks.add_endpoint"),
    "GET api/webhooks/<uuid:pk>/": ("see as staff", "webhooks.view_endpoint"),
    "POST api/webhooks/<uuid:pk>/change/": ("change", "webhooks.change_endpoint"),
    "POST api/webhooks/<uuid:pk>/rotate-secret/": ("change", "webhooks.change_endpoint"),
    "POST api/webhooks/<uuid:pk>/send-from/": ("act", "webhooks.change_endpoint"),
    "POST api/webhooks/<uuid:pk>/delete/": ("delete", "webhooks.delete_endpoint"),
    "GET api/webhooks/<uuid:pk>/deliveries/": ("see as staff", "webhooks.view_delivery"),
    "POST api/webhooks/<uuid:pk>/send-again/": ("act", "webhooks.change_delivery"),
    "POST api/webhooks/<uuid:pk>/skip/": ("act", "webhooks.change_delivery"),
    "GET metrics": ("see as staff", SEE_LOG),
}
PAGES = {
    "GET api/schema/": (200,) * 6,
    "GET api/docs/": (200,) * 6,
    "GET ": (200,) * 6,
    "GET demo-login/": (405,) * 6,  # POST under DEBUG alone
    "GET login/": (200,) * 6,
    "GET orders/": (302,) * 6,  # to the login page: a page asks for a session, and these have tokens
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
    "GET login/": 200,
    "GET logout/": 405,
    "GET orders/": 302,
}
ENDS_TOKENS = {"logout", "logout-all", "change-password"}
# Elsewhere a token that has ended is 401 too.
TAKES_NO_TOKEN = {"POST api/auth/login/", "GET ", "GET demo-login/", "GET login/", "GET logout/", "GET orders/"}

LINE = {"sku": "A", "quantity": 1, "unit_price": "1.00"}
BODIES: dict[str, dict[str, Any]] = {
    "rename": {"name": "Anna"},
    "deactivate": {"reason": "left"},
    "pay": {"payment_reference": "p"},
    "ship": {"tracking_number": "t"},
    "cancel": {"reason": "changed my mind"},
    "change-password": {"password": PASSWORD, "new_password": "another horse battery"},
    "webhooks": {"url": "https://192.0.9.1/hook"},
    "send-from": {"after": 0},
    "skip": {"stream": "order-1", "position": 1, "reason": "a test"},
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


def access(method: str, callback: Any) -> Any:
    """What the action behind a route declares: its permission, whether customers may, whether anyone may."""
    kind = callback.cls
    found = declared(kind, getattr(callback, "actions", {}).get(method.lower()))
    return found and (found.needed(kind), found.customers, found.anyone)


def test_every_route_has_a_row_and_every_row_a_route() -> None:
    found = {f"{method} {where}": service_of(view) for method, where, view in routes(get_resolver())}
    in_table = {service for route, service in found.items() if route in TABLE.keys() | PAGES.keys()}
    assert {route for route, service in found.items() if service in in_table} == TABLE.keys() | PAGES.keys()


def test_every_route_of_the_api_declares_what_the_table_says() -> None:
    for method, where, callback in routes(get_resolver()):
        route = f"{method} {where}"
        if route in TABLE:
            kind, permission = TABLE[route]
            assert (route, access(method, callback)) == (route, (permission, *KINDS[kind][0]))
        elif route not in PAGES and service_of(callback):
            assert (route, access(method, callback)) != (route, None)


class Anything(ViewSet):
    permission_classes = [DeclaredAccess]

    def list(self, request: Any) -> Response:
        raise AssertionError("nobody may")


@pytest.mark.parametrize("view", [Anything.as_view({"get": "list"}), APIView.as_view()])
def test_a_route_that_is_new_and_declares_nothing_is_found_and_refused(api: Api, view: Any) -> None:
    new = URLResolver(get_resolver().pattern, [path("api/anything/", view)])
    [(method, where, callback)] = routes(new)
    assert f"{method} {where.lstrip('^/')}" not in TABLE
    assert access(method, callback) is None
    request = APIRequestFactory().get("/api/anything/")
    force_authenticate(request, get_user_model().objects.create_superuser("root"))
    assert view(request).status_code == 403


class World:
    """A customer with an order, and everybody who might want something of them."""

    def __init__(self, api: Api) -> None:
        self.people = {
            "nobody": api,
            "other": self.person("other"),
            "plain": self.staff("plain"),
            "viewer": self.staff("viewer", "view_"),
            "changer": self.staff("changer", "change_"),
            "superuser": api.staff,
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

    def staff(self, name: str, may: str = "nothing") -> Api:
        login, _ = get_user_model().objects.get_or_create(username=f"{name}-{uuid4()}", is_staff=True)
        login.user_permissions.set(Permission.objects.filter(codename__startswith=may))
        return Api(AuthToken.objects.create(login)[1])

    def subject(self) -> tuple[Api, UUID]:
        owner, order_id = self.person("owner"), uuid4()
        dispatch(PlaceOrder(order_id, UUID(owner.user_id), "EUR", (OrderLine("A", 1, Decimal("1.00")),)))
        return owner, order_id

    def ask(self, route: str, role: str) -> Answer:
        """One request by one role, about an owner and an order that nobody has touched."""
        method, _, where = route.partition(" ")
        owner, order_id = self.subject() if method == "POST" and role in {"owner", *STAFF} else self.untouched
        action = where.rstrip("/").rpartition("/")[2]
        if role in STAFF:
            self.prepare(action, owner, order_id)
        sender = owner if role == "owner" else self.people[role]
        if action in ENDS_TOKENS and role in {"other", *STAFF}:
            sender = self.person(role) if role == "other" else self.staff(role)  # whose token it may end
        webhook = self.webhook() if "webhooks" in where else None
        where = re.sub("<.*?>", str(webhook or (order_id if "orders" in where else owner.user_id)), where)
        if method == "POST":
            return sender.post(where.removeprefix("api/"), self.body(where, action, role, owner))
        return Answer(sender.client.get(f"/{where}", headers=sender.headers))

    def webhook(self) -> UUID:
        """An endpoint that has not taken an event."""
        endpoint, _ = endpoints.create("https://192.0.9.1/hook")
        described = {
            "stream": "order-1",
            "stream_version": 1,
            "position": 1,
            "type": "x",
            "recorded_at": timezone.now(),
        }
        Delivery.objects.create(endpoint=endpoint, event_id=uuid4(), **described)
        return endpoint.pk

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
            return {"reason": "asked for"} if role in STAFF else {"password": PASSWORD}
        if where == "api/orders/":
            return {"currency": "EUR", "lines": [LINE], "customer_id": owner.user_id}
        if where == "api/users/":
            return {"email": f"new-{uuid4()}@example.org", "name": "New", "password": PASSWORD}
        if action == "login":
            return {"username": address, "password": PASSWORD}
        if action == "change-email":
            return {"email": f"new-{uuid4()}@example.org"} | ({} if role in STAFF else {"password": PASSWORD})
        return BODIES.get(action, {})


def test_every_route_answers_every_role_as_the_table_says(api: Api) -> None:
    world = World(api)
    expectations = {route: KINDS[kind][1] for route, (kind, _) in TABLE.items()} | PAGES
    for route, expected in expectations.items():
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


def test_no_route_has_another_method_and_head_is_as_get(api: Api) -> None:
    world = World(api)
    owner, order_id = world.untouched
    for where in {route.partition(" ")[2] for route in TABLE}:
        id = world.webhook() if "webhooks" in where else order_id if "orders" in where else owner.user_id
        url = "/" + re.sub("<.*?>", str(id), where)
        for role in ("nobody", "owner", "superuser"):
            sender = owner if role == "owner" else world.people[role]
            for method in ("GET", "POST", "PUT", "PATCH", "DELETE"):
                if f"{method} {where}" not in TABLE:
                    answer = sender.client.generic(method, url, headers=sender.headers)
                    assert (method, where, role, answer.status_code) == (method, where, role, 405)
            if f"GET {where}" in TABLE:
                get, head = (sender.client.generic(name, url, headers=sender.headers) for name in ("GET", "HEAD"))
                assert (where, role, head.status_code) == (where, role, get.status_code)


def test_every_route_answers_options_and_tells_nothing_of_anybody(api: Api) -> None:
    world = World(api)
    owner, order_id = world.untouched
    found = list(routes(get_resolver()))
    unknown = {where: str(uuid4()) for _, where, _ in found}
    for where, stranger in unknown.items():
        for role in ("nobody", "owner", "other", "plain", "superuser"):
            sender = owner if role == "owner" else world.people[role]
            answers = set()
            for id in (order_id if "orders" in where else owner.user_id, stranger):
                url = "/" + re.sub("<.*?>", str(id), where)
                for accept in ("*/*", "text/html", "application/json", "text/event-stream", "nothing/else"):
                    answer = sender.client.options(url, headers=sender.headers | {"Accept": accept})
                    assert answer.status_code < 500, (where, role, accept)
                    if accept == "application/json":
                        answers.add((answer.status_code, answer.content))
            assert len(answers) == 1, (where, role)  # the same whether there is such a thing or not
            [(status, content)] = answers
            assert status in {200, 204, *({401} if role == "nobody" else ())}, (where, role)
            assert str(owner.user_id).encode() not in content
    assert api.client.options("/api/auth/login/").status_code == 200
    assert api.client.options("/").headers["Allow"] == "GET, HEAD, OPTIONS"


@pytest.mark.parametrize("url", ["/", "/admin/login/", "/admin/orders/order/", "/api/orders/", "/api/schema/"])
def test_too_many_parameters_are_refused_at_once_and_said(api: Api, settings: Any, url: str) -> None:
    for settings.DEBUG in (False, True):
        for method in ("GET", "POST", "OPTIONS"):
            answer = api.client.generic(method, f"{url}?{'a&' * 1000}a=1")
            assert answer.status_code == 400
            assert b"more than 1000 query parameters" in answer.content
        assert api.client.get(f"{url}?{'a=1&' * 99}a=1").status_code < 500


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
