"""What can be asked about the log as a whole."""

from typing import Any

from django.db.models import BigIntegerField, ExpressionWrapper, F, QuerySet

from apps.eventlog import store
from apps.eventlog.delivery import checkpoints
from apps.eventlog.delivery.dead_letters import open_dead_letters
from apps.eventlog.models import StoredEvent
from apps.eventlog.projectors import Projector, services


def between(after: int, end: int, **where: Any) -> QuerySet[StoredEvent]:
    """The events after one position and up to another that have these values in their columns, oldest first."""
    if "stream" not in where:
        return store.find(position__gt=after, position__lte=end, **where)
    # A planner would look at each position. The index of the stream has its events in the same order, so hide the
    # position from the planner in an expression.
    hidden = ExpressionWrapper(F("position") + 0, BigIntegerField())
    rows = store.find(**where).annotate(hidden=hidden).filter(hidden__gt=after, hidden__lte=end)
    return rows.order_by("stream_version")


def projectors() -> list[dict[str, Any]]:
    """Of each projector: name, service, position, lag in events, and number of open dead letters."""
    return [
        {
            "name": name,
            "service": service,
            "position": position,
            "lag": checkpoints.lag(Projector.registry[name], position),
            "dead_letters": open_dead_letters(service).filter(projector=name).count(),
        }
        for service in services()
        for name, position in checkpoints.positions(service).items()
    ]


def status() -> dict[str, Any]:
    """The last safe position, the position of each projector, and the number of open dead letters, also of reactors."""
    letters = sum(open_dead_letters(service).count() for service in services())
    return {"head": store.safe_position(), "projectors": projectors(), "dead_letters": letters}
