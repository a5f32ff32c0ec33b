"""How far the replicas of the read databases are behind the log, by the checkpoints that came there with the rows."""

from collections.abc import Callable, Mapping
from functools import partial
from operator import attrgetter
from typing import Any

from django.conf import settings

from apps.eventlog.database.replicas import replicas, switched_to_replica
from apps.eventlog.delivery import checkpoints
from apps.eventlog.delivery.backlog import Kind
from apps.eventlog.projectors import of_service
from apps.eventlog.read.progress import Progress
from apps.eventlog.read.readers import Reader

KIND = "replica"


def sources() -> dict[str, Callable[[], list[Reader]]]:
    """The questions about the replicas. `overview` shows the name of a question that has no answer."""
    return {named(service): partial(of, service) for service in settings.REPLICAS}


def named(service: str) -> str:
    return f"the replica of {service}"


def of(service: str) -> list[Reader]:
    """The replica of a service as a reader of the log, as far as the projector that is furthest behind there.

    Raises what the replica raises.
    """
    try:
        with switched_to_replica(service):
            reached = checkpoints.of_projectors(service).values()
    finally:
        replicas[service].close()
    categories = {category for kind in of_service(service) for category in kind.categories}
    follows = tuple(Kind("category", category) for category in sorted(categories))
    return [Reader(KIND, service, KIND, min(reached, key=attrgetter("position")), follows)]


def documents(found: Mapping[tuple[str, str], Reader], known: Mapping[tuple[str, str], Progress]) -> list[Any]:
    """Each replica as the API shows it; what is not known is null."""
    return [_document(service, found.get((service, KIND)), known.get((service, KIND))) for service in settings.REPLICAS]


def _document(service: str, reader: Reader | None, at: Progress | None) -> dict[str, Any]:
    return {
        "service": service,
        "away": reader is None,
        "position": reader and reader.reached.position,
        "lag_events": at and at.lag_events,
        "lag_seconds": at and round(at.lag_seconds, 3),
        "log_went_back": bool(at and at.went_back),
    }
