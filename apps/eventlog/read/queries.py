"""The status of the log and of its readers, as the API shows it."""

from collections.abc import Callable, Mapping
from typing import Any

from django.conf import settings

from apps.eventlog.log.records import MarkHolder
from apps.eventlog.monitoring import instruments
from apps.eventlog.read import replicas
from apps.eventlog.read.faults import faults
from apps.eventlog.read.log_state import LogState, log_state
from apps.eventlog.read.overview import Overview, held, overview
from apps.eventlog.read.progress import Progress, of_readers
from apps.eventlog.read.readers import Reader
from apps.eventlog.read.readers import of as readers_of

# The member of the status that lists the readers of a kind.
KINDS = {"projector": "projectors", "reactor": "reactors", "process": "processes"}

Durations = Mapping[tuple[str, str], float]


def status(may: Callable[[str], bool] = lambda permission: False) -> dict[str, Any]:
    """What is wrong, where the log ends and which log it is, how far each reader is, and the dead letters of all.

    `may` says which permissions the one who asks has: pages that they may not see are left out.
    """
    seen, durations = overview(), instruments.batch_durations()
    found = faults(seen)
    return {
        "serves": settings.SERVED,
        "wrong": [each.text for each in found],
        "faults": [each.document(may) for each in found],
        "away": seen.away,
        **_log(seen.log),
        "marks": marks(seen.log),
        **{plural: readers(seen, kind, durations) for kind, plural in KINDS.items()},
        "replicas": seen.replicas,
        "relays": seen.relays,
        "webhooks": seen.webhooks,
        "dead_letters": sum(reader.dead_letters for reader, _ in seen.readers),
    }


def log() -> dict[str, Any]:
    """Where the log ends, which log it is, how far it is sealed, and who holds an in-flight mark; waits for the log."""
    state = log_state()
    return {**_log(state), "marks": [_mark(each) for each in state.marks]}


def marks(log: LogState | None) -> list[dict[str, Any]]:
    """Who has held an in-flight mark for long; no reader passes the position of the first."""
    return [_mark(each) for each in held(log)]


def _mark(holder: MarkHolder) -> dict[str, Any]:
    return holder._asdict() | {"release": holder.release}


def of_service(service: str) -> list[dict[str, Any]]:
    """The readers of a service, each with its kind, or the processes. Raises what their databases raise."""
    known = readers_of(service)
    at = of_readers(known)
    return [{"kind": each.kind, **_reader(each, at[each.key], None)} for each in known]


def of_replica(service: str) -> dict[str, Any]:
    """The replica of a service. Raises what its database raises."""
    found = {each.key: each for each in replicas.of(service)}
    return next(each for each in replicas.documents(found, of_readers(found.values())) if each["service"] == service)


def readers(seen: Overview, kind: str, durations: Durations) -> list[dict[str, Any]]:
    """The readers of a kind; what the log has to say of them is null if the log is away."""
    return [_reader(each, at, durations.get(each.key)) for each, at in seen.readers if each.kind == kind]


def _log(log: LogState | None) -> dict[str, Any]:
    if log is None:
        names = ("head", "safe_position", "safe_event_id", "identity", "oldest_mark_seconds", "seals")
        return dict.fromkeys(names)
    seals = {"position": log.sealed, "age_seconds": log.seal_age, "log_went_back": log.seals_went_back}
    return {
        "head": log.head,
        "safe_position": log.safe.position,
        "safe_event_id": log.safe.event_id,
        "identity": log.first.event_id,
        "oldest_mark_seconds": log.oldest_mark,
        "seals": seals,
    }


def _reader(reader: Reader, at: Progress | None, seconds: float | None) -> dict[str, Any]:
    return {
        "name": reader.name,
        "service": reader.service,
        "position": reader.reached.position,
        "lag": at and at.lag_events,  # as it was called before
        "lag_events": at and at.lag_events,
        "lag_seconds": at and round(at.lag_seconds, 3),
        "rate": None if at is None or at.rate is None else round(at.rate, 2),
        "batch_ms": None if seconds is None else round(1000 * seconds, 2),
        "dead_letters": reader.dead_letters,
        "last_error": reader.error or None,
        "last_error_at": reader.error_at,
        "log_went_back": reader.stopped or bool(at and at.went_back),
        **reader.more,
    }
