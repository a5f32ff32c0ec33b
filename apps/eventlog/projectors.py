"""Projectors turn events into rows of their own service's database, each event exactly once."""

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any, ClassVar, TypeVar
from uuid import UUID

from django.db.models import Model

from apps.eventlog import store
from apps.eventlog.database import bulk_rows
from apps.eventlog.events import DomainEvent, RecordedEvent

Method = TypeVar("Method", bound=Callable[..., None])


def on(event_type: type[DomainEvent]) -> Callable[[Method], Method]:
    """Mark the method of a projector or reactor that takes this event."""

    def mark(method: Method) -> Method:
        method.__dict__["takes"] = event_type
        return method

    return mark


def marked_methods(kind: type) -> dict[type[DomainEvent], str]:
    """The methods of a class marked with `@on`, by event class."""
    members = {name: getattr(kind, name) for name in dir(kind)}
    return {method.takes: name for name, method in members.items() if hasattr(method, "takes")}


class Projector:
    """Base of the projectors whose rows depend on many streams; `RowProjector` is the usual one.

    A subclass names the tables it owns (`models`) and the categories it follows, and implements
    `project`. It reaches its tables by `self.table(Model)`, which during a rebuild is another
    table than the live one.
    """

    registry: ClassVar[dict[str, type["Projector"]]] = {}
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
        Projector.registry[cls.name] = cls

    def __init__(self, tables: dict[type[Model], type[Model]] | None = None) -> None:
        self._tables = tables or {}
        self._takes = {event_type: getattr(self, name) for event_type, name in self.methods.items()}

    def table(self, model: type[Model]) -> Any:
        """The model to read and write rows with: of the live table, or of the one being built."""
        return self._tables.get(model, model)

    def upsert(self, model: type[Model], rows: Sequence[Any]) -> None:
        """Insert rows into the table of a model, or write them over the rows that have their primary keys."""
        bulk_rows.upsert(self.table(model), rows)

    def project(self, events: Sequence[RecordedEvent]) -> None:
        """Write what the events change, in a transaction that the caller holds open."""
        raise NotImplementedError


class RowProjector(Projector, abstract=True):
    """One row a stream, folded from that stream alone. Methods take `(row, event, recorded)`.

    The row's primary key is the stream's id; `version` and `updated_at` are kept here.
    """

    model: ClassVar[type[Model]]
    category: ClassVar[str]

    def __init_subclass__(cls) -> None:  # type: ignore[override]
        cls.models, cls.categories = (cls.model,), (cls.category,)
        super().__init_subclass__()

    def project(self, events: Sequence[RecordedEvent]) -> None:
        table = self.table(self.model)
        new = {recorded.stream_id for recorded in events if recorded.stream_version == 1}
        rows = bulk_rows.find(table, {recorded.stream_id for recorded in events} - new)
        for recorded in events:
            row = rows.get(recorded.stream_id) or table(pk=recorded.stream_id)
            rows[recorded.stream_id] = self.fold(row, [recorded])
        bulk_rows.upsert(table, list(rows.values()))

    @classmethod
    def row_at(cls, id: UUID, position: int | None = None) -> Any | None:
        """The row of a stream as it stood at a position of the log, or as it stands now; None before its first event.

        The row is folded from the stream itself, so it is never late.
        """
        history = list(store.read_stream(f"{cls.category}-{id}", until=position))
        return cls().fold(cls.model(pk=id), history) if history else None

    def fold(self, row: Any, events: Iterable[RecordedEvent]) -> Any:
        """The row after these events of its stream, one or more, oldest first."""
        takes = self._takes
        for recorded in events:
            event = recorded.event
            if take := takes.get(type(event)):
                take(row, event, recorded)
        row.version, row.updated_at = recorded.stream_version, recorded.recorded_at
        return row


def of_service(service: str) -> list[type[Projector]]:
    return [projector for projector in Projector.registry.values() if projector.service == service]


def services() -> list[str]:
    """The services that have projectors, by name."""
    return sorted({projector.service for projector in Projector.registry.values()})


def services_following(categories: Collection[str]) -> list[str]:
    """The services with a projector that follows one of these categories."""
    return sorted({p.service for p in Projector.registry.values() if set(categories) & set(p.categories)})
