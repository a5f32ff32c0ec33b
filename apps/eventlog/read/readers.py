"""All readers of the log, as their own databases have them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any

from django.db.models import Count

from apps.eventlog.delivery import checkpoints, identity
from apps.eventlog.delivery.backlog import Kind
from apps.eventlog.delivery.checkpoints import Reached
from apps.eventlog.delivery.dead_letters import open_dead_letters
from apps.eventlog.models import DeadLetter
from apps.eventlog.processes import Process
from apps.eventlog.processing import tables
from apps.eventlog.projectors import Projector, of_service
from apps.eventlog.reactors import Reactor


@dataclass(frozen=True, slots=True)
class Reader:
    """A reader: how far it has come, what it follows, and what it could not take.

    `stopped`: it has found that the log went back. `moved_at`: when it last took something. `error` is that of the
    newest event that it could not take. `more` is what its kind alone has.
    """

    kind: str
    service: str
    name: str
    reached: Reached
    follows: tuple[Kind, ...]
    stopped: bool = False
    dead_letters: int = 0
    error: str = ""
    error_at: datetime | None = None
    moved_at: datetime | None = None
    more: dict[str, int] = field(default_factory=dict)

    @property
    def key(self) -> tuple[str, str]:
        return self.service, self.name


def sources() -> dict[str, Callable[[], list[Reader]]]:
    """Who is asked for readers, by name: each service for its projectors and reactors.

    Each is asked in a thread of its own. Another kind of reader is added here, by one more source.
    """
    return {service: partial(of, service) for service in _services()}


def _services() -> list[str]:
    kinds: list[Any] = [*Projector.registry.values(), *Reactor.registry.values(), *Process.registry.values()]
    return sorted({kind.service for kind in kinds})


def of(service: str) -> list[Reader]:
    """The projectors and reactors of a service, or the processes."""
    reached, stopped = checkpoints.of_readers(service), set(identity.stopped(service))
    moved = checkpoints.moved_at(service)
    letters = dict(open_dead_letters(service).order_by().values_list("projector").annotate(Count("pk")))

    def reader(kind: str, name: str, *follows: Kind, **more: int) -> Reader:
        number = letters.get(name, 0)
        error = _last_error(service, name) if number else ("", None)
        at = reached.get(name, Reached())
        return Reader(kind, service, name, at, follows, name in stopped, number, *error, moved.get(name), more)

    return [
        *[reader("projector", each.name, *_categories(each)) for each in of_service(service)],
        *[reader("reactor", each.name, *_types(each)) for each in _by_name(Reactor.registry, service)],
        *[
            reader("process", each.name, *_types(each), **_of_process(each.name))
            for each in _by_name(Process.registry, service)
        ],
    ]


def _by_name(registry: Mapping[str, Any], service: str) -> list[Any]:
    return sorted((each for each in registry.values() if each.service == service), key=lambda each: each.name)


def _of_process(name: str) -> dict[str, int]:
    """How many timers of a process are set, and how many commands it has still to send."""
    return {
        "timers": tables.timers().objects.filter(process=name).count(),
        "commands": tables.commands().objects.filter(process=name, status="waiting").count(),
    }


def _categories(kind: type[Projector]) -> list[Kind]:
    return [Kind("category", category) for category in kind.categories]


def _types(kind: type[Reactor] | type[Process]) -> list[Kind]:
    return [Kind("type", event_type.type) for event_type in kind.methods]


def _last_error(service: str, name: str) -> tuple[str, datetime | None]:
    failed = open_dead_letters(service).filter(projector=name, status=DeadLetter.Status.FAILED)
    newest = failed.order_by("-parked_at", "-position").values_list("error", "parked_at").first()
    return newest or ("", None)
