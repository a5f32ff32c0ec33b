"""The catalog of events as an AsyncAPI 3 document: what a consumer of a relay finds in NATS, and in which form.

Each event type is a channel with one message. Its payload is the event's document, in any version that is in the log:
a message has the version in which its event was recorded.
"""

from datetime import datetime
from typing import Any
from uuid import UUID

from django.conf import settings

from apps.eventlog.events import FIELDS, DomainEvent, Payload
from apps.eventlog.log import schema_lock
from apps.eventlog.relay import cloud_events

VERSION = "3.0.0"
DESCRIPTION = """\
Events as `manage.py relay_events` sends them to a stream of NATS JetStream: each once, in the order of the log. Each
message is a CloudEvent 1.0 in binary mode. Its attributes are headers, and the body is the event's document, as the
feed at /api/events/ shows it. Fields that are marked `x-personal` are left out of messages.
"""

Document = dict[str, Any]

_TEXT: Document = {"type": "string"}
_JSON_TYPES: dict[Any, Document] = {
    int: {"type": "integer"},
    str: _TEXT,
    UUID: _TEXT | {"format": "uuid"},
    datetime: _TEXT | {"format": "date-time"},
    Payload: {"type": "object"},
}


def document() -> Document:
    """The whole document."""
    kinds = sorted(DomainEvent.types.items())
    about = settings.SPECTACULAR_SETTINGS
    return {
        "asyncapi": VERSION,
        "info": {"title": f"Events of {about['TITLE']}", "version": about["VERSION"], "description": DESCRIPTION},
        "defaultContentType": cloud_events.CONTENT_TYPE,
        "servers": {"nats": _server()},
        "channels": {name: _channel(name) for name, _ in kinds},
        "operations": {f"send.{name}": _operation(name) for name, _ in kinds},
        "components": {
            "messages": {name: _message(kind) for name, kind in kinds},
            "schemas": {"headers": _headers(), **{key: schema for _, kind in kinds for key, schema in _schemas(kind)}},
            "parameters": {"stream": {"description": "the stream in NATS (--stream)", "default": "headrace"}},
        },
    }


def _server() -> Document:
    host = {"description": "host and port of NATS", "default": "localhost:4222"}
    return {"host": "{host}", "protocol": "nats", "variables": {"host": host}}


def _channel(name: str) -> Document:
    return {
        "address": f"{{stream}}.{cloud_events.subject(name)}",
        "parameters": {"stream": _ref("parameters", "stream")},
        "servers": [{"$ref": "#/servers/nats"}],
        "messages": {name: _ref("messages", name)},
    }


def _operation(name: str) -> Document:
    channel = {"$ref": f"#/channels/{name}"}
    return {"action": "send", "channel": channel, "messages": [{"$ref": f"#/channels/{name}/messages/{name}"}]}


def _message(kind: type[DomainEvent]) -> Document:
    versions = [_payload(kind.type, version) for version, _ in schema_lock.plain_versions(kind)]
    return {
        "name": kind.type,
        **({"x-formerly": list(kind.formerly)} if kind.formerly else {}),
        "contentType": cloud_events.CONTENT_TYPE,
        "headers": _ref("schemas", "headers"),
        "payload": versions[0] if len(versions) == 1 else {"oneOf": versions},
    }


def _payload(name: str, version: int) -> Document:
    """The document of an event of one version."""
    fields = {field: _JSON_TYPES[kind] for field, kind in FIELDS.items()}
    fields |= {"type": {"const": name}, "schema_version": {"const": version}}
    fields |= {"data": _ref("schemas", f"{name}.{version}")}
    return {"type": "object", "required": list(FIELDS), "properties": fields}


def _schemas(kind: type[DomainEvent]) -> list[tuple[str, Document]]:
    """The schema of the data in each version, by name. No personal field is required, because messages have none."""
    found = []
    for version, schema in schema_lock.plain_versions(kind):
        required = [name for name in schema.get("required", []) if name not in kind.personal]
        found.append((f"{kind.type}.{version}", schema | {"required": required}))
    return found


def _headers() -> Document:
    attributes = {f"ce-{name}": _TEXT | {"description": text} for name, text in cloud_events.ATTRIBUTES.items()}
    own = {
        cloud_events.MESSAGE_ID: _TEXT | {"description": "the id of the event"},
        cloud_events.POSITION: _TEXT | {"description": "the position of the event in the log"},
    }
    return {"type": "object", "required": [*attributes, *own], "properties": attributes | own}


def _ref(kind: str, name: str) -> Document:
    return {"$ref": f"#/components/{kind}/{name}"}
