"""How far the projectors of a service have come, and waiting for them."""

import time
from collections.abc import Callable

from django.apps import apps

from apps.eventlog import store
from apps.eventlog.models import Checkpoint, DeadLetter
from apps.eventlog.projectors import Projector, of_service
from apps.eventlog.statements import rows


def places(service: str) -> dict[str, int]:
    """The position of each projector of a service; one that has taken nothing yet is at 0."""
    known = all_places(service)
    return {projector.name: known.get(projector.name, 0) for projector in of_service(service)}


def all_places(service: str) -> dict[str, int]:
    """The position of each projector and reactor of a service that has taken something."""
    return dict(rows(service, f"SELECT name, position FROM {table(service)}"))  # noqa: S608


def enter(service: str) -> bool:
    """Enter the projectors that have no checkpoint yet, at 0; True if there were any."""
    model = checkpoint_model(service)
    known = set(model.objects.values_list("name", flat=True))
    missing = [model(name=projector.name) for projector in of_service(service) if projector.name not in known]
    model.objects.bulk_create(missing, ignore_conflicts=True)
    return bool(missing)


def reached(service: str, position: int) -> bool:
    """True when every projector of the service shows the log at or beyond the position."""
    known = places(service)
    lowest = min(known.values(), default=position)
    if lowest >= position:
        return True
    return store.safe_position() >= position and not any(
        store.find(
            category__in=projector.categories, position__gt=known[projector.name], position__lte=position
        ).exists()
        for projector in of_service(service)
    )


def lag(kind: type[Projector], place: int) -> int:
    """How many events wait for a projector that has come to a place."""
    return store.find(category__in=kind.categories, position__gt=place).count()


def wait_until_reached(service: str, position: int, seconds: float = 2.0) -> bool:
    """Wait until the service shows the position; False where it does not in time."""
    return wait_until(lambda: reached(service, position), seconds)


def wait_until(condition: Callable[[], bool], seconds: float = 2.0) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True


def checkpoint_model(service: str) -> type[Checkpoint]:
    return apps.get_model(service, "Checkpoint")  # type: ignore[return-value]


def table(service: str) -> str:
    """The name of the table of the checkpoints."""
    return checkpoint_model(service)._meta.db_table


def dead_letter_model(service: str) -> type[DeadLetter]:
    return apps.get_model(service, "DeadLetter")  # type: ignore[return-value]
