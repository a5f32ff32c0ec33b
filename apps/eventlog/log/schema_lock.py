"""The schemas of a service's events: those of the code, and those of its lock file.

Events stay in the log for ever, so the fields of a version must not change after it was recorded. The lock file,
`events.lock.json` in the folder of the service, holds the JSON Schema of every version that there was.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
from django.apps import apps

from apps.eventlog import upcasting
from apps.eventlog.events import DomainEvent

LOCK = "events.lock.json"

Schema = dict[str, Any]
Lock = dict[str, dict[str, Schema]]  # by event type and version


def schema(kind: type[DomainEvent]) -> Schema:
    """The JSON Schema of an event's payload in its current version."""
    return msgspec.json.schema(kind)


def versions(kind: type[DomainEvent]) -> list[tuple[int, Schema]]:
    """Every version of an event type, oldest first, with the JSON Schema of its payload."""
    locked = _inherited(kind) | {str(kind.schema_version): schema(kind)}
    return sorted((int(version), each) for version, each in locked.items())


def plain_versions(kind: type[DomainEvent]) -> list[tuple[int, Schema]]:
    """The same without references, titles and descriptions."""
    return [(version, _plain(kind) if version == kind.schema_version else old) for version, old in versions(kind)]


def problems(service: str) -> list[str]:
    """Changes in a service's events after which events that may be in the log could not be read."""
    known, locked = _kinds(service), _read(service)
    gone = sorted(locked.keys() - known.keys() - DomainEvent.former.keys())
    return [
        *(f'{name} is in {LOCK} but not in the code; if it was renamed: formerly = ("{name}",)' for name in gone),
        *(problem for kind in known.values() for problem in _problems(kind)),
    ]


def unlocked(service: str) -> list[str]:
    """The event types of a service that have a schema, or a version of a former name, that is not in its lock file."""
    locked = _read(service)
    return [
        f"{name} version {kind.schema_version}"
        for name, kind in _kinds(service).items()
        if locked.get(name, {}) != _every_version(kind)
    ]


def lock(service: str) -> None:
    """Write the current schemas of a service's events into its lock file; only if there are no `problems`."""
    locked = _read(service)
    for name, kind in _kinds(service).items():
        locked[name] = _every_version(kind)
    _path(service).write_text(json.dumps(locked, indent=2, sort_keys=True) + "\n")


def _problems(kind: type[DomainEvent]) -> Iterator[str]:
    """The problems of one event type, compared with the locked versions of each of its names."""
    current = kind.schema_version
    for version in upcasting.missing(kind.names(), current):
        yield f"{kind.type} has no upcaster from version {version}"
    for name in kind.names():
        locked, formerly = _locked(name, kind), f" of {name}" if name != kind.type else ""
        if newer := [version for version in locked if int(version) > current]:
            last = max(newer, key=int)
            yield f"{kind.type} is at version {current} in the code, but {LOCK} has version {last}{formerly}"
        if str(current) in locked:
            for change in incompatible(locked[str(current)], _plain(kind)):
                yield f"{kind.type} {change}: give it a new schema_version and an upcaster"


def _locked(name: str, kind: type[DomainEvent]) -> Mapping[str, Schema]:
    """The locked versions of a name of an event: in the file of that service, or of the one where the event is now."""
    return _read(_service(name)).get(name, {}) or _read(_service(kind.type)).get(name, {})


def _service(type: str) -> str:
    return type.partition(".")[0]


def _inherited(kind: type[DomainEvent]) -> dict[str, Schema]:
    """The locked versions of an event under any of its names; a newer name counts more."""
    return {version: old for name in reversed(kind.names()) for version, old in _locked(name, kind).items()}


def _every_version(kind: type[DomainEvent]) -> dict[str, Schema]:
    """What the lock file is to have of an event. With the versions of its former names: their service may go."""
    return _inherited(kind) | {str(kind.schema_version): _plain(kind)}


def incompatible(old: Schema, new: Schema, where: str = "") -> Iterator[str]:
    """The changes from one schema to another of the same version that break recorded payloads or older code.

    A new field with a default is fine, and so is a field that becomes personal. Any other change needs a new version.
    """
    if old.get("type") == new.get("type") == "object" and "properties" in old and "properties" in new:
        before, after = old["properties"], new["properties"]
        for field in sorted(before.keys() | after.keys()):
            path = f"{where}.{field}" if where else field
            if field not in after:
                yield f"has lost {path}"
            elif field in before:
                yield from incompatible(before[field], after[field], path)
        for field in sorted(set(new.get("required", [])) - set(old.get("required", []))):
            yield f"now requires {where}.{field}" if where else f"now requires {field}"
    elif old.get("type") == new.get("type") == "array" and "items" in old and "items" in new:
        yield from incompatible(old["items"], new["items"], f"{where}[]")
    elif old != new and new != old | {"x-personal": True}:
        yield f"has changed {where or 'as a whole'} from {json.dumps(old)} to {json.dumps(new)}"


def _plain(kind: type[DomainEvent]) -> Schema:
    """The schema of an event with its references resolved and without titles and descriptions, which may change."""
    whole = schema(kind)

    def resolve(node: Any) -> Any:
        if isinstance(node, list):
            return [resolve(item) for item in node]
        if not isinstance(node, dict):
            return node
        if "$ref" in node:
            return resolve(whole["$defs"][node["$ref"].rpartition("/")[2]])
        words = {key for key in ("title", "description") if isinstance(node.get(key), str)}
        return {key: resolve(value) for key, value in node.items() if key not in words}

    return resolve(whole)


def _kinds(service: str) -> dict[str, type[DomainEvent]]:
    return {name: kind for name, kind in sorted(DomainEvent.types.items()) if _service(name) == service}


def _path(service: str) -> Path:
    return Path(apps.get_app_config(service).path) / LOCK


def _read(service: str) -> Lock:
    if not apps.is_installed(f"apps.{service}"):  # it was removed, or its events are of another system
        return {}
    path = _path(service)
    return json.loads(path.read_text()) if path.exists() else {}
