"""The API's description of itself: whole, valid, and true: its examples are sent, and the answers are as it says."""

import json
import re
from concurrent.futures import ThreadPoolExecutor
from html import unescape
from io import StringIO
from typing import Any
from uuid import uuid4

import pytest
from django.core.management import call_command
from django.test import Client
from drf_spectacular.generators import SchemaGenerator
from jsonschema import Draft202012Validator
from rest_framework.test import APIClient

from apps.eventlog.api import schema_view
from tests.support.api import Answer, Api

PROBLEMS = {"400", "401", "406", "503"}
# The examples in the order of a life, each as who sends it; `{id}` is the last user or order.
LIFE = [
    ("staff", "/api/users/"),
    ("nobody", "/api/auth/login/"),
    ("owner", "/api/users/{id}/rename/"),
    ("owner", "/api/users/{id}/change-email/"),
    ("owner", "/api/orders/"),
    ("owner", "/api/orders/{id}/pay/"),
    ("staff", "/api/orders/{id}/ship/"),
    ("staff", "/api/orders/{id}/deliver/"),
    ("owner", "/api/orders/"),
    ("owner", "/api/orders/{id}/cancel/"),
    ("owner", "/api/auth/change-password/"),
    ("staff", "/api/users/{id}/deactivate/"),
    ("staff", "/api/users/{id}/reactivate/"),
    ("staff", "/api/users/{id}/erase/"),
]


@pytest.fixture(scope="module")
def document(django_db_setup: None) -> dict[str, Any]:
    out = StringIO()
    call_command("spectacular", "--validate", "--fail-on-warn", "--format", "openapi-json", stdout=out)
    return dict(json.loads(out.getvalue()))


def operations(document: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    return {
        (method, path): operation
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }


def fits(document: dict[str, Any], operation: dict[str, Any], answer: Answer) -> None:
    """Does the operation have this answer, its body and its headers?"""
    described = operation["responses"][str(answer.status)]
    media_type = answer.headers.get("Content-Type", "").partition(";")[0]
    if "content" in described:
        schema = described["content"][media_type]["schema"]
        whole = schema | {"components": document["components"]}
        Draft202012Validator(whole).validate(answer.json)
    for header in {"Event-Position", "Location", "ETag", "WWW-Authenticate"} & set(described.get("headers", {})):
        assert header in answer.headers


def test_it_is_openapi_3_1_and_every_operation_says_what_it_is(document: dict[str, Any]) -> None:
    assert document["openapi"].startswith("3.1")
    names = [operation["operationId"] for operation in operations(document).values()]
    assert len(names) == len(set(names))
    for (method, path), operation in operations(document).items():
        side = {"get": "query", "post": "command"}[method]
        assert operation.get("x-side") == side or path.startswith(("/api/auth/", "/api/webhooks/")), path
        assert operation["description"], path


def faults(document: dict[str, Any]) -> list[str]:
    """What generators of typed clients, and those who read the schema, would stumble over."""
    declared, found = {tag["name"]: tag["description"] for tag in document["tags"]}, []
    for (method, path), operation in operations(document).items():
        if len(operation["tags"]) != 1 or not declared.get(operation["tags"][0]):
            found.append(f"{method} {path}: not one declared tag")
        if not 0 < len(operation.get("summary", "")) <= 60:
            found.append(f"{method} {path}: no short summary")
    for name, schema in document["components"]["schemas"].items():
        said = schema.get("description", "")
        if said.startswith("Base of") or "* `" in said:
            found.append(f"{name}: {said[:40]}")
    return found if document.get("servers") else [*found, "no servers"]


def test_typed_clients_can_be_made_of_it(document: dict[str, Any]) -> None:
    assert faults(document) == []
    listed = json.dumps(document)
    assert listed.count('"ZWL"') + listed.count('"ZMW"') <= 2  # the currencies come once


def test_what_a_generator_stumbles_over_is_found(document: dict[str, Any]) -> None:
    planted = json.loads(json.dumps(document))
    operation = planted["paths"]["/api/orders/"]["get"]
    operation["tags"].append("queries")
    operation["summary"] = ""
    planted["components"]["schemas"]["UserRead"]["description"] = "Base of the read serializers."
    planted["components"]["schemas"]["CurrencyEnum"]["description"] = "* `AED` - AED"
    planted["servers"] = []
    assert len(faults(planted)) == 5


def test_every_problem_has_its_form_and_its_media_type(document: dict[str, Any]) -> None:
    for (method, path), operation in operations(document).items():
        problems = {status: body for status, body in operation["responses"].items() if status >= "400"}
        assert set(problems) >= PROBLEMS | ({"413", "415"} if method == "post" else set()), path
        for status, body in problems.items():
            assert set(body["content"]) == {"application/problem+json"}, (path, status)
            assert body["content"]["application/problem+json"]["schema"] == {"$ref": "#/components/schemas/Problem"}
        if operation.get("x-side") == "command":
            assert set(problems) >= {"403", "409", "412", "422"}, path
            assert (
                "Event-Position"
                in operation["responses"]["201" if "201" in operation["responses"] else "202"]["headers"]
            )
            assert "Idempotency-Key" in {parameter["name"] for parameter in operation["parameters"]}
        if operation.get("x-side") == "query":
            assert "Min-Event-Position" in {parameter["name"] for parameter in operation["parameters"]}


def test_its_examples_are_sent_and_answered_as_it_says(api: Api, document: dict[str, Any]) -> None:
    known, people, ids, sent = operations(document), {"nobody": api, "staff": api.staff}, {}, set()
    new = api.customer("new@example.org")
    for sender, path in LIFE:
        operation = known["post", path]
        body = example_of(operation)
        kind = path.split("/")[2]
        answer = people[sender].post(path.removeprefix("/api/").replace("{id}", str(ids.get(kind))), body)
        assert answer.status < 300, (path, answer)
        fits(document, operation, answer)
        sent.add(path)
        if path in {"/api/users/", "/api/orders/"}:
            ids[kind] = answer["id"]
        if path == "/api/auth/login/":
            people["owner"] = Api(answer["token"], ids["users"])
    unsent = {path: operation for (_, path), operation in known.items() if example_of(operation) and path not in sent}
    assert not {path.split("/")[2] for path in unsent} & {*ids, "auth"}
    for path, operation in unsent.items():  # of services that LIFE does not know
        where = path.removeprefix("/api/").replace("{id}", str(uuid4()))
        answers = [person.post(where, example_of(operation)) for person in (api.staff, new)]
        assert any(answer.status != 400 for answer in answers), (path, answers)
        for answer in answers:
            fits(document, operation, answer)


def example_of(operation: dict[str, Any]) -> Any:
    body = operation.get("requestBody", {"content": {"application/json": {}}})["content"]["application/json"]
    [value] = [each["value"] for each in body.get("examples", {}).values()] or [None]
    return value


def test_every_query_is_answered_as_it_says(api: Api, document: dict[str, Any]) -> None:
    ann, staff = api.customer(), api.staff
    ids = {"users": ann.user_id, "orders": ann.place()}
    for (method, path), operation in operations(document).items():
        if method == "get" and not path.endswith("/stream/"):
            id = ids.get(path.split("/")[2])
            where = path.removeprefix("/api/").replace("{id}", str(id or uuid4()))
            for person, status in ((staff, 200 if id or "{id}" not in path else 404), (api, 401)):
                answer = person.get(where)
                assert (where, answer.status) == (where, status)
                fits(document, operation, answer)
            fits(document, operation, staff.get(f"{where}?colour=red"))


def test_the_browsable_pages_show_what_a_query_answers(api: Api) -> None:
    ann = api.customer()
    client = APIClient()
    for path in ("/api/users/", f"/api/users/{ann.user_id}/", "/api/orders/", "/api/users/?limit=1"):
        response = client.get(path, headers=ann.headers | {"Accept": "text/html"})
        assert (response.status_code, response["Content-Type"]) == (200, "text/html; charset=utf-8"), path
        assert ann.user_id in response.content.decode() or "orders" in path


def test_options_and_the_browsable_page_show_what_a_command_takes(api: Api) -> None:
    staff = api.staff
    owner = api.customer().user_id
    order = staff.place(customer=owner)
    for path, fields in [
        ("orders/", {"customer_id", "currency", "lines"}),
        (f"orders/{order}/ship/", {"tracking_number"}),
        (f"orders/{order}/deliver/", set()),
        ("users/", {"email", "name", "password"}),
    ]:
        options = Answer(staff.client.options(f"/api/{path}", headers=staff.headers))
        assert set(options["actions"]["POST"]) == fields
    page = staff.get("orders/", Accept="text/html").response.content.decode()
    [form] = re.findall("<textarea[^>]*>(.*?)</textarea>", page, re.DOTALL)
    assert staff.post("orders/", json.loads(unescape(form)) | {"customer_id": owner}).status == 201


def test_the_schema_is_generated_once_however_many_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []

    class Counting(SchemaGenerator):
        def get_schema(self, *args: Any, **kwargs: Any) -> Any:
            made.append(1)
            return super().get_schema(*args, **kwargs)

    monkeypatch.setattr(schema_view, "SchemaGenerator", Counting)
    schema_view._schema.cache_clear()
    schema_view._rendered.cache_clear()
    accepted = ["application/json", "application/yaml"] * 4
    with ThreadPoolExecutor(len(accepted)) as threads:
        answers = list(threads.map(lambda accept: Client().get("/api/schema/", headers={"Accept": accept}), accepted))
    assert made == [1]
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.content for answer in answers}) == 2
    [schema] = {answer.content for answer in answers if answer.headers["Content-Type"] == "application/json"}
    assert "/api/orders/" in json.loads(schema)["paths"]
