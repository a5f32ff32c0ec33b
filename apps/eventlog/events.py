"""What happened: the events of a service, and their recorded form in the log."""

from collections.abc import Callable
from datetime import datetime
from functools import lru_cache
from typing import Annotated, Any, ClassVar, NamedTuple, Self, TypeVar, get_type_hints
from uuid import UUID

import msgspec

from apps.eventlog import upcasting

Payload = dict[str, Any]
Field = TypeVar("Field")

_PERSONAL = msgspec.Meta(extra_json_schema={"x-personal": True})
ERASED = "[erased]"  # what a personal field reads after its person was erased

Personal = Annotated[Field, _PERSONAL]
"""Marks a field about a person: `name: Personal[str]`. Encrypted in the log; `[erased]` after an erasure."""


_decoders: dict[type, Callable[[msgspec.Raw], Any]] = {}
_uuid = msgspec.json.Decoder(UUID).decode


class UnknownEvent(Exception):
    """The log holds an event that this code does not know: of an unknown type or a newer version."""


class DomainEvent:
    """Base of every event. Subclass it as a frozen dataclass in a service's `events.py`.

    The log stores the class as the type `<service>.<class name>`. If old payloads do not fit a change of the fields,
    the change needs a higher `schema_version` and an upcaster (`upcasting.py`).

    Fields marked `Personal` are about one person. The person's id is in the name of the stream, or in the field that
    `subject` names. After an event with `erases`, nothing about its person can be read.
    """

    __slots__ = ()
    types: ClassVar[dict[str, type["DomainEvent"]]] = {}
    type: ClassVar[str]
    schema_version: ClassVar[int] = 1
    personal: ClassVar[tuple[str, ...]] = ()
    subject: ClassVar[str] = ""
    erases: ClassVar[bool] = False

    def __init_subclass__(cls) -> None:
        service = cls.__module__.removesuffix(".events").rpartition(".")[2]
        cls.type = f"{service}.{cls.__name__}"
        hints = get_type_hints(cls, include_extras=True)
        cls.personal = tuple(name for name, hint in hints.items() if _PERSONAL in getattr(hint, "__metadata__", ()))
        DomainEvent.types[cls.type] = cls

    def payload(self) -> Payload:
        """This event's fields as JSON values: decimals, ids and instants as strings."""
        return msgspec.to_builtins(self)

    @classmethod
    def from_payload(cls, data: Payload) -> Self:
        """The event of a payload in the current version; raises `msgspec.ValidationError` if it does not fit."""
        return msgspec.convert(data, cls)


def _decoder(kind: type[DomainEvent]) -> Callable[[msgspec.Raw], Any]:
    """Decodes the text of a payload straight into an event of this class, without a dictionary in between."""
    return _decoders.setdefault(kind, msgspec.json.Decoder(kind).decode)


_id = lru_cache(UUID)  # a command reads the newest ids several times


class Place(NamedTuple):
    """A position and the id of the event there, by which a reader knows the log again: `Place()` is its beginning.

    An id of None at another position is not known.
    """

    position: int = 0
    event_id: UUID | None = None

    @classmethod
    def read(cls, position: int, event_id: UUID | str) -> Self:
        """A place as a database answers it."""
        return cls(position, event_id if isinstance(event_id, UUID) else _id(event_id))

    @property
    def unknown(self) -> bool:
        return self.position > 0 and self.event_id is None


class RecordedEvent(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One row of the log, with the `FIELDS`; `event` is the typed event in its current version.

    A replay reads millions of these and seldom asks for an id or the metadata. So they stay text until somebody asks.
    """

    position: int
    _event_id: str
    stream: str
    stream_version: int
    type: str
    schema_version: int
    _data: msgspec.Raw
    _metadata: msgspec.Raw
    recorded_at: datetime

    @property
    def event_id(self) -> UUID:
        return msgspec.convert(self._event_id, UUID)

    @property
    def place(self) -> Place:
        return Place(self.position, self.event_id)

    @property
    def data(self) -> Payload:
        """The payload as JSON values."""
        return msgspec.json.decode(self._data)

    @property
    def metadata(self) -> Payload:
        return msgspec.json.decode(self._metadata)

    def with_data(self, data: Payload) -> "RecordedEvent":
        """The same event with another payload."""
        return msgspec.structs.replace(self, _data=msgspec.Raw(msgspec.json.encode(data)))

    @property
    def category(self) -> str:
        return self.stream.partition("-")[0]

    @property
    def stream_id(self) -> UUID:
        """The id in the name of the stream; raises `msgspec.ValidationError` if it is not a UUID."""
        return _uuid(f'"{self.stream.partition("-")[2]}"')

    @property
    def event(self) -> DomainEvent:
        """The event, upcast to the current version of its class; raises `UnknownEvent`."""
        known = DomainEvent.types.get(self.type)
        if known is None:
            raise UnknownEvent(f"{self.type} at position {self.position} is not an event of this code")
        if self.schema_version == known.schema_version:
            return (_decoders.get(known) or _decoder(known))(self._data)
        if self.schema_version > known.schema_version:
            raise UnknownEvent(
                f"{self.type} at position {self.position} has version {self.schema_version}, "
                f"this code knows up to {known.schema_version}"
            )
        data = upcasting.upcast(self.type, self.schema_version, known.schema_version, self.data)
        return known.from_payload(data)

    def document(self) -> Payload:
        """The event as the feed, histories and the stream show it."""
        return msgspec.to_builtins({field: getattr(self, field) for field in FIELDS})


# What anybody is shown of an event, in the order of the columns, and the type that it is read as.
FIELDS: dict[str, Any] = {
    field.name.removeprefix("_"): field.type for field in msgspec.structs.fields(RecordedEvent)
} | {"event_id": UUID, "data": Payload, "metadata": Payload}
