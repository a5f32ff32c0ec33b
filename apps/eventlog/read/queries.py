"""What can be asked about the log as a whole."""

from collections.abc import Iterable
from typing import Any

from apps.eventlog import store
from apps.eventlog.delivery import checkpoints, identity
from apps.eventlog.delivery.dead_letters import open_dead_letters
from apps.eventlog.log import places
from apps.eventlog.processes import Process
from apps.eventlog.processing import tables
from apps.eventlog.projectors import Projector, services
from apps.eventlog.reactors import Reactor
from apps.eventlog.relay.heartbeats import relays
from apps.eventlog.sealing import seals


def projectors() -> list[dict[str, Any]]:
    """Of each projector: name, service, position, lag in events, open dead letters, and whether it stopped."""
    return [
        _reader(name, service, position, checkpoints.lag(Projector.registry[name], position), gone)
        for service, gone in _gone(services())
        for name, position in checkpoints.positions(service).items()
    ]


def reactors() -> list[dict[str, Any]]:
    """What `projectors` says, of each reactor."""
    return _of_types(Reactor.registry.values())


def processes() -> list[dict[str, Any]]:
    """What `projectors` says, of each process, with how many timers are set and how many commands are to be sent."""
    return [
        row
        | {
            "timers": tables.timers().objects.filter(process=row["name"]).count(),
            "commands": tables.commands().objects.filter(process=row["name"], status="waiting").count(),
        }
        for row in _of_types(Process.registry.values())
    ]


def _of_types(every: Iterable[type[Reactor] | type[Process]]) -> list[dict[str, Any]]:
    """The readers that follow types of events and not categories."""
    kinds = sorted(every, key=lambda kind: (kind.service, kind.name))
    found = []
    for service, gone in _gone(sorted({kind.service for kind in kinds})):
        known = checkpoints.of_readers(service)
        for kind in [kind for kind in kinds if kind.service == service]:
            position = known[kind.name].position if kind.name in known else 0
            lag = store.count(after=position, types=[event.type for event in kind.methods])
            found.append(_reader(kind.name, service, position, lag, gone))
    return found


def _gone(services: list[str]) -> list[tuple[str, list[str]]]:
    """Each service with its readers whose place is not in the log."""
    return [(service, identity.went_back(service)) for service in services]


def _reader(name: str, service: str, position: int, lag: int, gone: list[str]) -> dict[str, Any]:
    dead_letters = open_dead_letters(service).filter(projector=name).count()
    known = {"name": name, "service": service, "position": position, "lag": lag, "dead_letters": dead_letters}
    return known | {"log_went_back": name in gone}


def status() -> dict[str, Any]:
    """Where the log ends and which log it is, how far each reader is, and the dead letters of all."""
    safe, first = store.safe_place(), places.first_place()
    return {
        "head": store.head(),
        "safe_position": safe.position,
        "safe_event_id": safe.event_id,
        "identity": first.event_id,
        "projectors": projectors(),
        "reactors": reactors(),
        "processes": processes(),
        "relays": relays(),
        "seals": {"position": seals.last_position(), "log_went_back": seals.went_back()},
        "dead_letters": sum(open_dead_letters(service).count() for service in (*services(), tables.ALIAS)),
    }
