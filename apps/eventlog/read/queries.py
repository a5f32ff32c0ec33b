"""What can be asked about the log as a whole."""

from typing import Any

from apps.eventlog import store
from apps.eventlog.delivery import checkpoints
from apps.eventlog.delivery.dead_letters import open_dead_letters
from apps.eventlog.projectors import Projector, services


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
