"""How far the projectors and reactors of a service have come."""

from django.apps import apps

from apps.eventlog import store
from apps.eventlog.database.statements import rows
from apps.eventlog.models import Checkpoint, DeadLetter
from apps.eventlog.projectors import Projector, of_service


def positions(service: str) -> dict[str, int]:
    """The position of each projector of a service; 0 for one that has taken nothing yet."""
    known = recorded_positions(service)
    return {projector.name: known.get(projector.name, 0) for projector in of_service(service)}


def recorded_positions(service: str) -> dict[str, int]:
    """The position of each projector and reactor of a service that has a checkpoint."""
    return dict(rows(service, f"SELECT name, position FROM {table(service)}"))  # noqa: S608


def lowest(service: str) -> int:
    """The position of the projector of a service that is furthest behind."""
    return min(positions(service).values(), default=0)


def enter(service: str) -> bool:
    """Enter the projectors that have no checkpoint yet, at 0; True if there were any."""
    model = checkpoint_model(service)
    known = set(model.objects.values_list("name", flat=True))
    missing = [model(name=projector.name) for projector in of_service(service) if projector.name not in known]
    model.objects.bulk_create(missing, ignore_conflicts=True)
    return bool(missing)


def reached(service: str, position: int) -> bool:
    """True if every projector of the service shows the log at or beyond the position."""
    known = positions(service)
    if min(known.values(), default=position) >= position:
        return True
    return store.safe_position() >= position and not any(
        store.any_after(known[projector.name], until=position, category=projector.categories)
        for projector in of_service(service)
    )


def lag(kind: type[Projector], position: int) -> int:
    """How many events a projector has yet to take that has come to a position."""
    return store.count(category=kind.categories, after=position)


def checkpoint_model(service: str) -> type[Checkpoint]:
    return apps.get_model(service, "Checkpoint")  # type: ignore[return-value]


def table(service: str) -> str:
    """The name of the table of the checkpoints."""
    return checkpoint_model(service)._meta.db_table


def dead_letter_model(service: str) -> type[DeadLetter]:
    return apps.get_model(service, "DeadLetter")  # type: ignore[return-value]
