"""How far the projectors and reactors of a service have come, and in which log."""

from collections.abc import Iterable
from datetime import datetime
from functools import cache, lru_cache
from typing import NamedTuple

from django.apps import apps

from apps.eventlog import store
from apps.eventlog.database.statements import rows
from apps.eventlog.events import Place
from apps.eventlog.log import places
from apps.eventlog.models import Checkpoint, DeadLetter
from apps.eventlog.projectors import Projector, of_service

# Those that `recorded` takes. The id comes as text, so that `recorded` makes it once and not at each look.
COLUMNS = "name, position, CAST(event_id AS text), event_position"


class Reached(NamedTuple):
    """The position that a reader has come to, and the place by which it knows the log."""

    position: int = 0
    place: Place = Place()


@lru_cache(maxsize=256)  # one command reads the same rows several times
def recorded(name: str, position: int, event_id: str | None, event_position: int) -> tuple[str, Reached]:
    """What a row of a checkpoint says, and whose it is."""
    moved_alone = event_position != position if name in Projector.registry else event_position < position
    if moved_alone or event_id is None:
        return name, Reached(position, Place(position))
    return name, Reached(position, Place.read(event_position, event_id))


def of_readers(service: str) -> dict[str, Reached]:
    """How far each projector and reactor of a service is that has a checkpoint."""
    return dict(recorded(*row) for row in rows(service, f"SELECT {COLUMNS} FROM {table(service)}"))  # noqa: S608


def moved_at(service: str) -> dict[str, datetime]:
    """When each projector and reactor of a service last took something, by its name."""
    return dict(checkpoint_model(service).objects.values_list("name", "updated_at"))


def of_projectors(service: str) -> dict[str, Reached]:
    """How far each projector of a service is; one that has taken nothing yet is at the beginning."""
    known = of_readers(service)
    return {projector.name: known.get(projector.name, Reached()) for projector in of_service(service)}


def positions(service: str) -> dict[str, int]:
    """The position of each projector of a service; 0 for one that has taken nothing yet."""
    return {name: reached.position for name, reached in of_projectors(service).items()}


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
    """True if every projector of the service shows the log at or beyond the position.

    Raises `store.LogWentBack` if the rows show another log.
    """
    known = of_projectors(service)
    require_in_log(each.place for each in known.values())
    return _reached(service, position, known)


def stands_at(service: str, position: int) -> bool:
    """Like `reached`, for a caller that has just projected: the projection has compared the log already."""
    return _reached(service, position, of_projectors(service))


def _reached(service: str, position: int, known: dict[str, Reached]) -> bool:
    if min((each.position for each in known.values()), default=position) >= position:
        return True
    return store.safe_position() >= position and not any(
        store.any_after(known[projector.name].position, until=position, category=projector.categories)
        for projector in of_service(service)
    )


def require_in_log(every: Iterable[Place]) -> None:
    """Raise `store.LogWentBack` if the log has not one of these places."""
    known = {place for place in every if place.event_id is not None}
    found = places.places_at({place.position for place in known})
    for place in known:
        if found.get(place.position) != place:
            raise store.LogWentBack(place, found.get(place.position, Place()).event_id)


def known_again(reached: Reached) -> Place:
    """The place of a checkpoint; if its event is not known, that of the last event up to its position.

    Raises `store.LogWentBack` if nothing was ever at that position.
    """
    if not reached.place.unknown:
        return reached.place
    if reached.position > store.last_position():
        raise store.LogWentBack(reached.place, None)
    return places.place_at(reached.position)


@cache
def checkpoint_model(service: str) -> type[Checkpoint]:
    return apps.get_model(service, "Checkpoint")  # type: ignore[return-value]


def table(service: str) -> str:
    """The name of the table of the checkpoints."""
    return checkpoint_model(service)._meta.db_table


@cache
def dead_letter_model(service: str) -> type[DeadLetter]:
    return apps.get_model(service, "DeadLetter")  # type: ignore[return-value]
