"""Events on their way into a log as an import brings them, from plain documents."""

import json
from io import StringIO
from pathlib import Path
from typing import Any
from uuid import uuid4

import msgspec
from django.core.management import call_command

from apps.eventlog import store
from apps.eventlog.log.importing import ExportedEvent


def document(**changes: Any) -> dict[str, Any]:
    """An event as an export has it: a new one of a new stream, with these changes."""
    event = {"position": 1, "event_id": str(uuid4()), "stream": f"thing-{uuid4()}", "stream_version": 1}
    event |= {"type": "eventlog.Counted", "schema_version": 1, "data": {"n": 1}, "metadata": {}}
    return event | {"recorded_at": "2024-02-29T12:00:00Z"} | changes


def import_documents(documents: list[dict[str, Any]]) -> int:
    """Import documents with the fields of a recorded event; returns how many were not in the log already."""
    lines = [msgspec.json.encode(document) for document in documents]
    return store.import_events([msgspec.json.decode(line, type=ExportedEvent) for line in lines])


def import_lines(directory: Path, *lines: dict[str, Any] | str | bytes, name: str = "log.jsonl") -> str:
    """Import a file of these lines with the command; returns what it printed. A dictionary is written as JSON."""
    file = directory / name
    file.write_bytes(b"".join(_line(line) + b"\n" for line in lines))
    return run("import_events", str(file))


def exported_log(directory: Path) -> bytes:
    """What `export_events` writes of the log."""
    run("export_events", str(directory / "exported.jsonl"))
    return (directory / "exported.jsonl").read_bytes()


def run(*arguments: str) -> str:
    out = StringIO()
    call_command(*arguments, stdout=out, stderr=out)
    return out.getvalue()


def _line(line: dict[str, Any] | str | bytes) -> bytes:
    if isinstance(line, bytes):
        return line
    return (line if isinstance(line, str) else json.dumps(line)).encode()
