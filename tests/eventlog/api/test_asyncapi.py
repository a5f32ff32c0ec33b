"""The AsyncAPI document: every event type is in it, its references lead somewhere, and messages are as it says."""

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import msgspec
from jsonschema import Draft7Validator

from apps.eventlog import store
from apps.eventlog.events import DomainEvent
from apps.eventlog.relay.cloud_events import message, source_of_log
from tests.eventlog.events import ParcelSent
from tests.support.api import Api
from tests.support.history import make_history


def references(node: Any) -> Iterator[str]:
    if isinstance(node, list):
        for item in node:
            yield from references(item)
    elif isinstance(node, dict):
        for key, value in node.items():
            yield from [value] if key == "$ref" else references(value)


def at(document: dict[str, Any], reference: str) -> Any:
    found: Any = document
    for step in reference.removeprefix("#/").split("/"):
        found = found[step]
    return found


def test_every_event_type_is_a_channel_with_all_its_versions(api: Api) -> None:
    document, catalog = api.staff.get("events/asyncapi/").json, api.staff.get("events/catalog/")["results"]
    assert document["asyncapi"] == "3.0.0"
    assert {each["type"] for each in catalog} == set(document["channels"]) == set(DomainEvent.types)
    assert {f"{each['type']}.{version['schema_version']}" for each in catalog for version in each["versions"]} == set(
        document["components"]["schemas"]
    ) - {"headers"}
    for name, channel in document["channels"].items():
        assert channel["address"] == f"{{stream}}.{name}"
        assert document["operations"][f"send.{name}"]["channel"] == {"$ref": f"#/channels/{name}"}
    for reference in references(document):
        assert at(document, reference), reference


def test_messages_are_as_it_says(api: Api) -> None:
    make_history(users=2, commands=20)
    store.append(f"parcel-{uuid4()}", [ParcelSent(uuid4(), "1 High Street")], expected_version=0)
    document, source = api.staff.get("events/asyncapi/").json, source_of_log()
    for recorded in store.read_all(encrypted=True):
        sent, described = message(recorded, source), document["components"]["messages"][recorded.type]
        for value, schema in [
            (msgspec.json.decode(sent.body), described["payload"]),
            (sent.headers, described["headers"]),
        ]:
            Draft7Validator(schema | {"components": document["components"]}).validate(value)
    assert document["components"]["schemas"]["eventlog.ParcelSent.1"]["properties"]["address"]["x-personal"] is True


def test_who_may_see_the_catalog_may_see_it(api: Api) -> None:
    assert [person.get("events/asyncapi/").status for person in (api, api.customer(), api.staff)] == [401, 403, 200]
