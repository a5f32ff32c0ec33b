"""Input that breaks a naive build: each is a problem document with a 4xx, and nothing has happened."""

from typing import Any
from urllib.parse import quote

import msgspec
import pytest
from django.test import Client

from apps.eventlog import store
from tests.support.api import PASSWORD, Answer, Api
from tests.support.bodies import SHAPES

NOBODY = "00000000-0000-0000-0000-000000000000"
LINE = {"sku": "A", "quantity": 1, "unit_price": "1.00"}
ORDER = {"currency": "EUR", "lines": [LINE]}
NAME = b'{"name": "Anna"}'

# What no parser should let through: the document as such is at fault, not one of its fields.
BODIES: dict[str, bytes] = {
    "NUL in a value": rb'{"name": "a\u0000b"}',
    "NUL in a key": rb'{"na\u0000me": "a"}',
    "a lone surrogate": rb'{"name": "\ud83d"}',
    "a lone surrogate in a key": rb'{"\udc00": "a"}',
    "a pair of surrogates in the wrong order": rb'{"name": "\ude00\ud83d"}',
    "a surrogate as UTF-8": b'{"name": "\xed\xa0\xbd"}',
    "100,000 levels of lists": b'{"name": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "100,000 levels of objects": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "21 levels": b'{"name": ' + b"[" * 20 + b"1" + b"]" * 20 + b"}",
    "1,001 keys": msgspec.json.encode({str(n): n for n in range(1001)}),
    "a key twice": b'{"name": "a", "name": "b"}',
    "a key twice, once escaped": rb'{"name": "a", "\u006eame": "b"}',
    "a huge integer": b'{"name": ' + b"9" * 5000 + b"}",
    "an integer beyond 2**53": b'{"name": 9007199254740993}',
    "a huge float": b'{"name": 1e999}',
    "NaN": b'{"name": NaN}',
    "-Infinity": b'{"name": -Infinity}',
    "a list": b'["name"]',
    "a number": b"1",
    "a string": b'"name"',
    "null": b"null",
    "not JSON": b"{name}",
    "single quotes": b"{'name': 'a'}",
    "a comma too many": b'{"name": "a",}',
    "half of it": b'{"name": "a',
    "two documents": NAME + NAME,
    "not UTF-8": b'{"name": "\xff"}',
    "overlong UTF-8": b'{"name": "\xc0\xaf"}',
    "a byte order mark": b"\xef\xbb\xbf" + NAME,
    "UTF-16": NAME.decode().encode("utf-16"),
    "gzip": b"\x1f\x8b\x08\x00\x00\x00\x00\x00",
    "a form": b"name=Anna",
    "XML": b"<?xml version='1.0'?><name>Anna</name>",
    "nothing but white space": b"  ",
}


def refused(answer: Answer, *statuses: int) -> None:
    assert answer.status in statuses, answer
    assert answer.headers["Content-Type"] == "application/problem+json", answer
    assert (answer["status"], answer["type"]) == (answer.status, "about:blank")


def test_a_hostile_body_is_a_problem_and_no_event(api: Api) -> None:
    ann = api.customer()
    head = store.head()
    for name, body in BODIES.items():
        answer = ann.post(f"users/{ann.user_id}/rename/", body)
        refused(answer, 400)
        assert "errors" not in answer.json, name  # it never came to the fields
    assert store.head() == head


def test_a_text_is_a_string_of_some_length_and_nothing_else(api: Api) -> None:
    ann = api.customer()
    user, order = f"users/{ann.user_id}", f"orders/{ann.place()}"
    head = store.head()
    fields = {f"{user}/rename": "name", f"{user}/change-email": "email", f"{user}/deactivate": "reason"}
    fields |= {f"{order}/pay": "payment_reference", f"{order}/cancel": "reason"}
    for value in [5, 1.5, True, None, "", " ", [], ["a"], {}, {"a": 1}, "x" * 501]:
        for path, field in fields.items():
            answer = ann.post(f"{path}/", {field: value})
            refused(answer, 400)
            assert {error["pointer"] for error in answer["errors"]} == {f"/{field}"}
    assert store.head() == head


LINE_VALUES: dict[str, list[Any]] = {
    "quantity": ["1", 0, -1, 1.5, True, None, 10**15, [1], ""],
    "unit_price": [
        *[1, 1.5, None, "", " 1", "1 ", "1e3", "+1", "-0.01", "1_0", "١", ".5", "1.", "NaN", "Infinity", "0x1"],
        *["1,00", "1\n", "0" * 13, "9" * 5000],
    ],
    "sku": [1, None, "", " ", "x" * 101],
}


@pytest.mark.parametrize("field", LINE_VALUES)
def test_a_line_has_a_number_a_decimal_string_and_a_name(api: Api, field: str) -> None:
    ann = api.customer()
    for value in LINE_VALUES[field]:
        answer = ann.post("orders/", ORDER | {"lines": [LINE | {field: value}]})
        refused(answer, 400)
        assert [error["pointer"] for error in answer["errors"]] == [f"/lines/0/{field}"], value


ORDERS: list[dict[str, Any]] = [
    *[ORDER | {"lines": lines} for lines in (None, {}, "A", [None], [[]], ["A"], [1], [{}])],
    *[ORDER | {"currency": currency} for currency in (None, "", "eur", "XXX", 978, ["EUR"])],
    *[ORDER | {"customer_id": id} for id in ("", "zzz", 1, None, [NOBODY])],
    *[ORDER | {name: "1"} for name in ("id", "version", "position", "status", "total", "placed_at", "__proto__")],
]


def test_an_order_is_what_it_says_and_no_more(api: Api) -> None:
    ann = api.customer()
    head = store.head()
    for body in ORDERS:
        refused(ann.post("orders/", body), 400)
    assert store.head() == head


HEADERS: list[tuple[dict[str, str], int]] = [
    *[({"Content-Type": type}, 415) for type in ("text/plain", "application/xml", "text/html", "zzz", "*/*", "é")],
    *[({"Content-Type": type}, 415) for type in ("application/x-www-form-urlencoded", "application/json, a/b")],
    *[({"Content-Type": f"multipart/form-data; boundary={text}"}, 415) for text in ("a", "\xff", "x" * 5000)],
    *[({"Content-Type": f"application/json; charset={set}"}, 415) for set in ("zzz", "utf-16", "latin-1", "\xff")],
    *[({"Content-Encoding": name}, 415) for name in ("gzip", "deflate", "zzz")],
    *[({"Accept": type}, 406) for type in ("image/png", "application/xml", "zzz", "\xff")],
    *[({"Idempotency-Key": key}, 400) for key in ("", "k" * 256, "a\tb", "a\x7fb", "\x85")],
    *[({"If-Match": tag}, 400) for tag in ("", "1", 'W/"1"', '"1", "2"', '"-1"', '"x"', f'"{10**30}"', '"١"')],
    ({"If-Match": '"7"'}, 412),
    ({"Host": "a b"}, 400),
]


def test_a_hostile_header_is_a_problem_and_no_event(api: Api) -> None:
    ann = api.customer()
    head = store.head()
    for header, status in HEADERS:
        refused(Answer(rename(ann, header)), status)
    assert store.head() == head


def rename(ann: Api, header: dict[str, str]) -> Any:
    sent = {"Content-Type": "application/json"} | ann.headers | header
    environ = {f"HTTP_{name.upper().replace('-', '_')}": value for name, value in sent.items()}
    path = f"/api/users/{ann.user_id}/rename/"
    return ann.client.generic("POST", path, NAME, content_type=sent["Content-Type"], **environ)


def test_a_position_to_wait_for_is_a_number(api: Api) -> None:
    staff = api.staff
    for path in ("orders/", "users/", "events/", f"orders/{NOBODY}/"):
        for position in ["", "-1", "x", "1e3", "1.0", " ", "9" * 30, "²", "١", "0x1", "1,2"]:
            refused(staff.get(path, Min_Event_Position=position), 400)


CREDENTIALS = ["Bearer a\0b", "Bearer \xff", "Bearer", "Bearer a b", "Basic AAAA", "Basic \0", "Bearer é"]


def test_hostile_credentials_are_not_authenticated() -> None:
    for credentials in [*CREDENTIALS, "Bearer " + "a" * 9000]:
        answer = Answer(Client().get("/api/orders/", headers={"Authorization": credentials}))
        refused(answer, 401)
        assert answer.headers["WWW-Authenticate"] == "Bearer"


PARAMETERS = {
    "users/": ["email=%00", "email=%ff", "email=%ed%a0%80", "email=", "status=lost", "status=", "name=Ann", "id=1"],
    "orders/": [
        *["customer=zzz", "customer=" + "9" * 5000, "customer=", "customer=%00", "customer=%ff", "customer[]=1"],
        *["limit=1" + "0" * 30, "limit=0", "limit=-1", "limit=1e1", "limit=", "limit=1&limit=2", "limit=١"],
        *["cursor=", "cursor=zzz", "cursor=eyJhIjoxfQ:1abc:forged", "cursor=" + "a" * 5000, "cursor=%00"],
        *["currency=EURO", "currency=eur", "currency=%00", "placed_after=yesterday", "placed_before=9999999999999"],
        *["placed_after=2026-13-01T00:00Z", "ordering=total", "ordering=--placed_at", "ordering=", "ordering=id;drop"],
        *["placed_after=0001-01-01T00:00:00%2B14:00", "placed_before=9999-12-31T23:59:59-14:00"],
        *["ordering=customer__name", "colour=red", "%00=1", "%ff=1", "=", "format=xml", "page=1"],
    ],
    "orders/summary/": ["limit=201", "day=2026-01-01", "cursor=zzz"],
    f"orders/{NOBODY}/": ["at=now", "at=", "version=0", "version=-1", "version=x", "version=1" + "0" * 30, "a=1"],
    f"orders/{NOBODY}/history/": ["status=paid", "at=now"],
    "events/": [
        *["after=-1", "after=1" + "0" * 30, "after=x", "limit=0", "limit=1001", "limit=x", "since=yesterday"],
        *[
            "until=1",
            "correlation_id=",
            f"correlation_id={'a' * 201}",
            "type=%00",
            "type=",
            "stream=%ff",
            "category=%00",
            "colour=red",
            "cursor=a",
        ],
    ],
    "events/catalog/": ["type=a"],
    "events/status/": ["a=b"],
    "events/stream/": ["after=x&a=b", "channel=other", "es-meta=x", "recover=true"],
}


@pytest.mark.parametrize("path", PARAMETERS)
def test_a_hostile_parameter_is_a_problem(api: Api, path: str) -> None:
    staff = api.staff
    for query in PARAMETERS[path]:
        answer = staff.get(f"{path}?{quote(query, safe='%=&;:[]-+')}")
        assert (query, answer.status) == (query, 400), answer
        refused(answer, 400)


def test_the_edges_of_time_are_instants_like_any_other(api: Api) -> None:
    staff, order = api.staff, api.customer().place()
    for instant in ("0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "2026-01-01T00:00:00%2B16:42", "2026-01-01T00:00"):
        for path in ("orders/?placed_after", "orders/?placed_before", "events/?since", "events/?until"):
            assert staff.get(f"{path}={instant}").status == 200, (path, instant)
        assert staff.get(f"orders/{order}/?at={instant}").status in {200, 404}


def test_the_letters_of_an_instant_may_be_in_lower_case(api: Api) -> None:
    staff, order = api.staff, api.customer().place()
    for upper in ("2099-01-01T00:00:00.5Z", "2001-01-01T00:00:00+02:00", "2001-12-31T23:59:59.999999Z"):
        for path in (
            "orders/?placed_after",
            "orders/?placed_before",
            "events/?since",
            "events/?until",
            f"orders/{order}/?at",
        ):
            one, other = (staff.get(f"{path}={quote(text)}") for text in (upper, upper.lower()))
            assert one.status in {200, 404}, (path, upper)
            shown = (one.status, one.json and one.json.get("results"))
            assert (other.status, other.json and other.json.get("results")) == shown, (path, upper)


def test_no_position_is_too_far_for_a_feed(api: Api) -> None:
    staff = api.staff
    for more in ("", "&stream=user-1", "&type=a.B", "&category=a"):
        assert staff.get(f"events/?after={2**62}{more}").status == 200


def test_a_command_takes_no_parameters(api: Api) -> None:
    ann = api.customer()
    for path in (f"users/{ann.user_id}/rename/", "orders/"):
        answer = ann.post(f"{path}?dry_run=1", {"name": "Anna"})
        refused(answer, 400)
        assert answer["errors"][0]["pointer"] == "/dry_run"


PATHS = [
    *["/api", "/api/", "/api/nowhere/", "/api/orders/zzz/", "/api/orders/%00/", "/api/orders/%ff/", "/api/orders/1/"],
    *[f"/api/orders/{NOBODY}", f"/api/orders/{NOBODY.upper()}0/", f"/api/orders/{NOBODY}/nothing/"],
    *[
        f"/api/orders/{NOBODY}%0a/",
        f"/api/orders/{NOBODY[:-1]}/",
        f"/api/orders/{{{NOBODY}}}/",
        f"/api/orders/{NOBODY}/",
    ],
    *["/api/users/%ed%a0%bd/", "/api/users/..%2f..%2fadmin/", "/api/orders/;a=b/", "/api/" + "a" * 9000],
]


def test_a_hostile_path_is_not_found(api: Api) -> None:
    for client in (api.staff, api.customer()):
        for path in PATHS:
            response = client.client.get(path, headers=client.headers, follow=True)
            refused(Answer(response), 400, 404)
            body = client.client.post(path, "{}", content_type="application/json", headers=client.headers)
            refused(Answer(body), 400, 404, 405)


def test_a_body_over_the_limit_is_too_large(api: Api) -> None:
    for type in ("application/json", "text/plain", "application/x-www-form-urlencoded"):
        response = Client().post("/api/users/", b'{"name": "' + b"x" * 3_000_000 + b'"}', content_type=type)
        refused(Answer(response), 413, 415)


def test_a_body_of_any_shape_is_refused_in_a_few_kilobytes(api: Api) -> None:
    ann = api.customer()
    paths = {"order": (ann, "orders/"), "register": (api, "users/"), "rename": (ann, f"users/{ann.user_id}/rename/")}
    head = store.head()
    for name, shape in SHAPES.items():
        if name != "an order":
            sender, path = paths[shape.command]
            answer = sender.post(path, shape.body(8))
            refused(answer, 400)
            assert len(answer.response.content) <= 5000, name
    assert store.head() == head


def test_a_long_list_of_errors_is_cut_and_the_rest_is_counted(api: Api) -> None:
    ann = api.customer()
    few = ann.post("orders/", ORDER | {"lines": [LINE | {"sku": ""}] * 20})
    assert [error["pointer"] for error in few["errors"]] == [f"/lines/{n}/sku" for n in range(20)]
    assert "more_errors" not in few.json
    many = ann.post("orders/", ORDER | {"lines": [LINE | {"sku": ""}] * 500})
    assert [error["pointer"] for error in many["errors"]][:20] == [error["pointer"] for error in few["errors"]]
    assert len(many["errors"]) + many["more_errors"] == 500


def test_a_pointer_escapes_what_would_divide_it(api: Api) -> None:
    ann = api.customer()
    answer = ann.post(f"users/{ann.user_id}/rename/", {"a/b": 1, "c~d": 2, "name": "A"})
    assert [error["pointer"] for error in answer["errors"]] == ["/a~1b", "/c~0d"]


def test_ten_thousand_keys_and_values_are_the_most_and_commas_in_texts_are_none(api: Api) -> None:
    ann = api.customer()
    path = f"users/{ann.user_id}/rename/"
    for number, errors in ((10_000 - 3, True), (10_000 - 2, False)):  # beside the object, its key and the list
        answer = ann.post(path, {"name": [1] * number})
        refused(answer, 400)
        assert ("errors" in answer.json) == errors, number
    refused(commas := ann.post(path, {"name": ',:[{\\",' * 100_000}), 400)
    assert [error["pointer"] for error in commas["errors"]] == ["/name"]


def test_a_thousand_parameters_are_too_many_wherever_they_go(api: Api) -> None:
    for path in ("/api/orders/", "/api/nowhere/", "/api/"):
        refused(Answer(api.client.get(f"{path}?{'a&' * 1000}")), 400)


def test_a_body_within_the_limit_whose_text_is_too_long_names_the_field(api: Api) -> None:
    body = {"email": "a@example.org", "name": "x" * 2_000_000, "password": PASSWORD}
    assert [error["pointer"] for error in api.post("users/", body)["errors"]] == ["/name"]
