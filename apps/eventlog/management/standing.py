"""How far the projectors are, in one line."""

from apps.eventlog import checkpoints
from apps.eventlog.dead_letters import open_letters
from apps.eventlog.projectors import Projector


def standing(services: list[str]) -> str:
    """Where each projector of these services is, what waits for it, and what is set aside."""
    parts = []
    for service in services:
        for name, place in checkpoints.places(service).items():
            lag = checkpoints.lag(Projector.registry[name], place)
            aside = open_letters(service).filter(projector=name).count()
            parts.append(f"{name} at {place}, {lag} behind, {aside} set aside")
    return "; ".join(parts)
