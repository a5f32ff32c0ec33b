"""What happened: the events of a service, and their recorded form in the log."""

import re
from collections.abc import Callable, Iterable
from datetime import datetime
from functools import lru_cache
from typing import Annotated, Any, ClassVar, NamedTuple, Self, TypeVar, get_origin, get_type_hints
from uuid import UUID

import msgspec

from apps.eventlog import upcasting
from apps.eventlog.commands import SYSTEM
from apps.eventlog.errors.texts import Impersonal, without_values
from apps.eventlog.registry import Registry

Payload = dict[str, Any]
Field = TypeVar("Field")

_PERSONAL = msgspec.Meta(extra_json_schema={"x-personal": True})
ENCRYPTED = {"subject", "sealed"}  # the members of a personal field in the log
ERASED = "[erased]"  # what a personal field reads after its person was erased

Personal = Annotated[Field, _PERSONAL]
"""Marks a field about a person: `name: Personal[str]`. An event has it encrypted in the log. After an erasure it reads
`[erased]`, also in the state of a process, and in a command that a process has sent or will send."""


def personal_fields(kind: type[Any]) -> tuple[str, ...]:
    """The fields of an event, a command or a process that are marked `Personal`."""
    hints = get_type_hints(kind, include_extras=True)
    return tuple(name for name, hint in hints.items() if _PERSONAL in getattr(hint, "__metadata__", ()))


def is_encrypted(value: Any) -> bool:
    """Is this how the log has a personal field: `{"subject": <whose>, "sealed": <base64>}`?"""
    return type(value) is dict and value.keys() == ENCRYPTED and type(value["subject"]) is str


_ONE_NAME = "Rename one of them, or take the name out of `formerly`"
_NAME = re.compile(r"\w+\.\w+")
_decoders: dict[type, Callable[[bytes | msgspec.Raw], Any]] = {}
_uuid = msgspec.json.Decoder(UUID).decode


class UnknownEvent(Impersonal):
    """This code cannot read an event of the log: an unknown type, a newer version, or a payload that does not fit."""


class InvalidEvent(ValueError):
    """An event may not enter the log: it breaks a rule of the log, or one of its own.

    `event` names the event (its type, or what an import calls it), `field` the field, `rule` what the field must be.
    """

    def __init__(self, event: str, field: str, rule: str) -> None:
        super().__init__(f"{event}: {field} {rule}")
        self.event, self.field, self.rule = event, field, rule


class DomainEvent:
    """Base of every event. Subclass it as a frozen dataclass in a service's `events.py`.

    The log stores the class as the type `<service>.<class name>`. If old payloads do not fit a change of the fields,
    the change needs a higher `schema_version` and an upcaster (`upcasting.py`).

    If an event is renamed, or moves to another service, `formerly` has the types under which the log has it:
    `formerly = ("orders.OrderAnnulled",)`. Its versions go on from there. Events that were stored under such a name are
    read as events of this class, and are shown with its name.

    What the fields must be beyond their types is in `check`, for no code may append or import an event that breaks it.

    Fields marked `Personal` are about one person. The person's id is in the name of the stream, or in the field that
    `subject` names. After an event with `erases`, nothing about its person can be read.
    """

    __slots__ = ()
    types: ClassVar[Registry[type["DomainEvent"]]] = Registry("events", remedy=_ONE_NAME)
    former: ClassVar[Registry[type["DomainEvent"]]] = Registry("events", beside=[types], remedy=_ONE_NAME)
    type: ClassVar[str]
    formerly: ClassVar[tuple[str, ...]] = ()
    schema_version: ClassVar[int] = 1
    personal: ClassVar[tuple[str, ...]] = ()
    subject: ClassVar[str] = ""
    erases: ClassVar[bool] = False

    def __init_subclass__(cls) -> None:
        service = cls.__module__.removesuffix(".events").rpartition(".")[2]
        cls.type = f"{service}.{cls.__name__}"
        cls.personal = personal_fields(cls)
        cls.formerly = _former_names(cls)
        DomainEvent.types.add(cls.type, cls)
        for name in cls.formerly:
            DomainEvent.former.add(name, cls)

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """The types under which the log has events of this class, the current one first."""
        return cls.type, *cls.formerly

    def check(self) -> None:
        """Raise ValueError with a rule that the fields break. Asked when an event enters the log, not when it is read:
        a rule of today must not make an event of yesterday unreadable.
        """

    def payload(self) -> Payload:
        """This event's fields as JSON values: decimals, ids and instants as strings."""
        return msgspec.to_builtins(self)

    @classmethod
    def from_json(cls, text: bytes | msgspec.Raw) -> Self:
        """The event of a payload as JSON; raises `msgspec.ValidationError` if it does not fit."""
        return (_decoders.get(cls) or _decoder(cls))(text)

    @classmethod
    def from_payload(cls, data: Payload) -> Self:
        """The event of a payload in the current version; raises `msgspec.ValidationError` if it does not fit."""
        return msgspec.convert(data, cls)


DomainEvent.types.beside = [DomainEvent.former]


def _former_names(kind: type[DomainEvent]) -> tuple[str, ...]:
    """What a class itself says in `formerly`. Raises TypeError unless that is a tuple of types."""
    names = vars(kind).get("formerly", ())
    if not isinstance(names, tuple) or not all(isinstance(name, str) and _NAME.fullmatch(name) for name in names):
        raise TypeError(f'{kind.type}: formerly is a tuple of types, as in ("orders.OrderAnnulled",), not {names!r}')
    if "formerly" in vars(kind).get("__annotations__", {}) and get_origin(get_type_hints(kind)["formerly"]) != ClassVar:
        raise TypeError(f"{kind.type}: formerly is no field of the event; write it without a type")
    return names


def named(name: str) -> type[DomainEvent] | None:
    """The class of the events that go by this name, now or formerly; None if this code has none."""
    return DomainEvent.types.get(name) or DomainEvent.former.get(name)


def current_name(name: str) -> str:
    """What a type is called now; a type that this code does not know is called as ever."""
    known = DomainEvent.former.get(name)
    return known.type if known else name


def stored_names(types: Iterable[str]) -> list[str]:
    """All types under which the log may have the events of these types, current or former."""
    found = (kind.names() if (kind := named(name)) else (name,) for name in types)
    return list(dict.fromkeys(each for names in found for each in names))


def _decoder(kind: type[DomainEvent]) -> Callable[[bytes | msgspec.Raw], Any]:
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

    `type` is what the type is called now; `stored_type` is what the log has.

    A replay reads millions of these and seldom asks for an id or the metadata. So they stay text until somebody asks.
    """

    position: int
    _event_id: str
    stream: str
    stream_version: int
    _type: str
    schema_version: int
    _data: msgspec.Raw
    _metadata: msgspec.Raw
    recorded_at: datetime

    @property
    def type(self) -> str:
        return current_name(self._type)

    @property
    def stored_type(self) -> str:
        return self._type

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
    def stored_data(self) -> bytes:
        """The text of the payload, to look for something in it without decoding it."""
        return bytes(self._data)

    @property
    def stored_metadata(self) -> bytes:
        return bytes(self._metadata)

    @property
    def metadata(self) -> Payload:
        return msgspec.json.decode(self._metadata)

    def size(self) -> int:
        """How many bytes its payload and its metadata have as JSON."""
        return memoryview(self._data).nbytes + memoryview(self._metadata).nbytes

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
        known = named(self._type)
        if known is None:
            raise UnknownEvent(f"{self.type} at position {self.position} is not an event of this code")
        if self.schema_version > known.schema_version:
            raise UnknownEvent(
                f"{self.type} at position {self.position} has version {self.schema_version}, "
                f"this code knows up to {known.schema_version}"
            )
        try:
            if self.schema_version == known.schema_version:
                return (_decoders.get(known) or _decoder(known))(self._data)
            data = upcasting.upcast(self._type, self.schema_version, known.schema_version, self.data, known.names())
            return known.from_payload(data)
        except Exception as error:  # an upcaster may raise anything
            why = f"{self.type} at position {self.position} does not fit its class: {without_values(error)}"
            raise UnknownEvent(why) from error

    def document(self, customer: UUID | None = None) -> Payload:
        """The event as the feed, histories and the stream show it.

        A `customer` does not see the name of the member of staff who sent the command, only `staff`.
        """
        shown: Payload = msgspec.to_builtins({field: getattr(self, field) for field in FIELDS})
        actor = shown["metadata"].get("actor")
        if customer is not None and actor not in (None, str(customer), SYSTEM.name):
            shown["metadata"]["actor"] = "staff"
        return shown


# What anybody is shown of an event, in the order of the columns, and the type that it is read as.
FIELDS: dict[str, Any] = {
    field.name.removeprefix("_"): field.type for field in msgspec.structs.fields(RecordedEvent)
} | {"event_id": UUID, "data": Payload, "metadata": Payload}

_DASHED_ID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


def stream_named(name: str) -> str:
    """The name of a stream as the log has it: the digits of a UUID are read in either case and stored in lower case."""
    category, dash, id = name.partition("-")
    return f"{category}{dash}{id.lower()}" if _DASHED_ID.fullmatch(id) else name
