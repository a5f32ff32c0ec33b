"""Projectors turn events into rows of their service's database. Each event takes effect exactly once."""

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any, ClassVar, TypeVar
from uuid import UUID

from django.conf import settings
from django.db.models import Model

from apps.eventlog import store
from apps.eventlog.aggregates import Aggregate
from apps.eventlog.database import bulk_rows
from apps.eventlog.events import DomainEvent, RecordedEvent
from apps.eventlog.registry import DuplicateName, Registry

Method = TypeVar("Method", bound=Callable[..., None])


def on(event_type: type[DomainEvent]) -> Callable[[Method], Method]:
    """Mark the method of a projector or reactor that takes events of this type."""

    def mark(method: Method) -> Method:
        method.__dict__["takes"] = event_type
        return method

    return mark


def marked_methods(kind: type) -> dict[type[DomainEvent], str]:
    """The names of the methods of a class that are marked with `@on`, by the type of event.

    Raises `DuplicateName` if two of them take one type, and TypeError if one hides a method that its base needs.
    """
    found: dict[type[DomainEvent], str] = {}
    for name in dir(kind):
        if event_type := getattr(getattr(kind, name), "takes", None):
            if base := _hidden(kind, name):
                raise TypeError(f"{kind.__name__}.{name} hides a method of {base.__name__}: give it another name")
            if event_type in found:
                raise DuplicateName(f"{kind.__name__}: {found[event_type]} and {name} both take {event_type.type}")
            found[event_type] = name
    return found


def _hidden(kind: type, name: str) -> type | None:
    """The base of a class that has a method of this name which takes no event: `project`, or `send` of a process."""
    bases = [base for base in kind.__mro__[1:] if name in vars(base)]
    return next((base for base in bases if not hasattr(vars(base)[name], "takes")), None)


class Projector:
    """Base of projectors whose rows depend on many streams. If each row depends on one, use `RowProjector`.

    A subclass names the models of its tables (`models`) and the categories that it follows, and implements `project`.
    It must reach its tables by `self.table(Model)`: in a rebuild that is a new table, not the live one.

    The `registry` has those of the services that this process serves (SERVE), as have those of reactors and processes.
    """

    registry: ClassVar[Registry[type["Projector"]]] = Registry("readers")
    models: ClassVar[tuple[type[Model], ...]]
    categories: ClassVar[tuple[str, ...]]
    methods: ClassVar[dict[type[DomainEvent], str]]
    service: ClassVar[str]
    name: ClassVar[str]

    def __init_subclass__(cls, abstract: bool = False) -> None:
        if abstract:
            return
        cls.service, cls.name = cls.models[0]._meta.app_label, cls.__name__
        cls.methods = marked_methods(cls)
        if cls.service not in settings.LEFT_OUT:
            Projector.registry.add(cls.name, cls)

    def __init__(self, tables: dict[type[Model], type[Model]] | None = None) -> None:
        self._tables = tables or {}
        self._takes = {event_type: getattr(self, name) for event_type, name in self.methods.items()}

    def table(self, model: type[Model]) -> Any:
        """The model to read and write rows with: that of the live table, or in a rebuild that of the new table."""
        return self._tables.get(model, model)

    def find(self, model: type[Model], keys: Collection[bulk_rows.Key]) -> dict[bulk_rows.Key, Any]:
        """The rows of a model with these primary keys, by key. Unlike `in_bulk`, it makes a query for one row once."""
        return bulk_rows.find(self.table(model), keys)

    def upsert(self, model: type[Model], rows: Sequence[Any]) -> None:
        """Insert rows into the table of a model. A row replaces the one that has the same primary key."""
        bulk_rows.upsert(self.table(model), rows)

    def project(self, events: Sequence[RecordedEvent]) -> None:
        """Write to the tables what the events change, in the caller's transaction."""
        raise NotImplementedError


class RowProjector(Projector, abstract=True):
    """Base of projectors with one row for each stream, folded from that stream alone.

    A subclass names the `model` and the `category`. Its methods marked `@on` take `(row, event, recorded)`. The row's
    primary key is the stream's id; `version` and `updated_at` are set here.
    """

    model: ClassVar[type[Model]]
    category: ClassVar[str]

    def __init_subclass__(cls) -> None:  # type: ignore[override]
        cls.models, cls.categories = (cls.model,), (cls.category,)
        super().__init_subclass__()

    def project(self, events: Sequence[RecordedEvent]) -> None:
        table = self.table(self.model)
        new = {recorded.stream_id for recorded in events if recorded.stream_version == 1}
        rows = self.find(self.model, {recorded.stream_id for recorded in events} - new)
        for recorded in events:
            row = rows.get(recorded.stream_id) or table(pk=recorded.stream_id)
            rows[recorded.stream_id] = self.fold(row, [recorded])
        bulk_rows.upsert(table, list(rows.values()))

    @classmethod
    def row(cls, id: UUID) -> Any | None:
        """The row of a stream as the table has it; None if there is none, perhaps because it is not projected yet."""
        return bulk_rows.find(cls.model, [id]).get(id)

    @classmethod
    def row_at(cls, id: UUID, position: int | None = None) -> Any | None:
        """The row of a stream as of a position of the log, or as of now; None before its first event.

        It is folded from the stream itself, so it shows events that are not projected yet.
        """
        history = list(store.read_stream(f"{cls.category}-{id}", until=position))
        return cls().fold(cls.model(pk=id), history) if history else None

    def fold(self, row: Any, events: Iterable[RecordedEvent]) -> Any:
        """Apply events of its stream to a row, one or more, oldest first; returns the row."""
        takes = self._takes
        for recorded in events:
            event = recorded.event
            if take := takes.get(type(event)):
                take(row, event, recorded)
        row.version, row.updated_at = recorded.stream_version, recorded.recorded_at
        return row


def of_service(service: str) -> list[type[Projector]]:
    """The projectors of a service."""
    return [projector for projector in Projector.registry.values() if projector.service == service]


def categories() -> set[str]:
    """Every category that this code writes, or that a projector follows."""
    followed = {category for projector in Projector.registry.values() for category in projector.categories}
    return followed | set(Aggregate.registry)


def services() -> list[str]:
    """The services that have projectors, by name."""
    return sorted({projector.service for projector in Projector.registry.values()})


def services_following(categories: Collection[str]) -> list[str]:
    """The services with a projector that follows one of these categories."""
    return sorted({p.service for p in Projector.registry.values() if set(categories) & set(p.categories)})
