"""All readers of the log, as their own databases have them."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from django.db.models import Count

from apps.eventlog.delivery import checkpoints, identity
from apps.eventlog.delivery.backlog import Kind
from apps.eventlog.delivery.checkpoints import Reached
from apps.eventlog.delivery.dead_letters import open_dead_letters
from apps.eventlog.models import DeadLetter
from apps.eventlog.projectors import Projector, of_service, services
from apps.eventlog.reactors import Reactor


@dataclass(frozen=True, slots=True)
class Reader:
    """A reader: how far it has come, what it follows, and what it could not take.

    `stopped`: it has found that the log went back. `error` is that of the newest event that it could not take.
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

    @property
    def key(self) -> tuple[str, str]:
        return self.service, self.name


def sources() -> dict[str, Callable[[], list[Reader]]]:
    """Who is asked for readers, by name: each service for its projectors and reactors.

    Each is asked in a thread of its own. Another kind of reader is added here, by one more source.
    """
    return {service: partial(of, service) for service in _services()}


def _services() -> list[str]:
    return sorted({*services(), *(kind.service for kind in Reactor.registry.values())})


def of(service: str) -> list[Reader]:
    """The projectors and reactors of a service."""
    reached, stopped = checkpoints.of_readers(service), set(identity.stopped(service))
    letters = dict(open_dead_letters(service).order_by().values_list("projector").annotate(Count("pk")))

    def reader(kind: str, name: str, *follows: Kind) -> Reader:
        number = letters.get(name, 0)
        error = _last_error(service, name) if number else ("", None)
        return Reader(kind, service, name, reached.get(name, Reached()), follows, name in stopped, number, *error)

    reactors = sorted(
        (each for each in Reactor.registry.values() if each.service == service), key=lambda each: each.name
    )
    return [
        *[reader("projector", each.name, *_categories(each)) for each in of_service(service)],
        *[reader("reactor", each.name, *_types(each)) for each in reactors],
    ]


def _categories(kind: type[Projector]) -> list[Kind]:
    return [Kind("category", category) for category in kind.categories]


def _types(kind: type[Reactor]) -> list[Kind]:
    return [Kind("type", event_type.type) for event_type in kind.methods]


def _last_error(service: str, name: str) -> tuple[str, datetime | None]:
    failed = open_dead_letters(service).filter(projector=name, status=DeadLetter.Status.FAILED)
    newest = failed.order_by("-parked_at", "-position").values_list("error", "parked_at").first()
    return newest or ("", None)
