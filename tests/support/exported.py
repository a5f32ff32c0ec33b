"""Events on their way into a log as an import brings them, from plain documents."""

from typing import Any

import msgspec

from apps.eventlog import store
from apps.eventlog.log.importing import ExportedEvent


def import_documents(documents: list[dict[str, Any]]) -> int:
    """Import documents with the fields of a recorded event; returns how many were not in the log already."""
    lines = [msgspec.json.encode(document) for document in documents]
    return store.import_events([msgspec.json.decode(line, type=ExportedEvent) for line in lines])
