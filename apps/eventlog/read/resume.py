"""Where a client of the feed or of the live stream says that it was: a position, and if it knows, the event there."""

import re
from typing import Any, NamedTuple
from uuid import UUID

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers
from rest_framework.exceptions import ValidationError

from apps.eventlog import store
from apps.eventlog.events import Place
from apps.eventlog.live.messages import CHANNEL, message_id
from apps.eventlog.live.tail import tail
from apps.eventlog.log import places

DIGITS = r"[0-9]{1,19}"
LARGEST = 2**62
UUID_DIGITS = r"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}"
AFTER = re.compile(rf"({DIGITS})(?:@({UUID_DIGITS}))?", re.ASCII)
LAST_EVENT_ID = re.compile(rf"(?:{CHANNEL}:)?(?:[0-9a-f]{{8}}:)?({DIGITS})", re.ASCII)


@extend_schema_field({"type": "string", "pattern": rf"^{DIGITS}(@{UUID_DIGITS})?$"})
class PlaceField(serializers.CharField):
    """`<position>` or `<position>@<event_id>`, read as a `Place`."""

    def to_internal_value(self, data: Any) -> Any:
        try:
            return as_place(super().to_internal_value(data))
        except ValueError as error:
            raise ValidationError("a position of the log, or <position>@<event_id>") from error


def as_place(text: str) -> Place:
    """The place of such a text; raises ValueError."""
    match = AFTER.fullmatch(text)
    if match is None or int(match[1]) > LARGEST:
        raise ValueError(text)
    return Place(int(match[1]), UUID(match[2]) if match[2] else None)


class Start(NamedTuple):
    """Where a stream begins; `went_back` if the log has not the event that its client saw last."""

    place: Place
    went_back: bool = False


def after(name: str, text: str, now: Place) -> Start:
    """The start that `after` means, as `as_place` reads it; raises ValidationError for a position not there yet."""
    try:
        place = as_place(text)
    except ValueError:
        raise _not_there(name, now) from None
    if place.event_id is None:
        return _without_id(name, place.position, now)
    return _known(place.position, message_id(place))


def last_seen(name: str, text: str, now: Place) -> Start:
    """The start that a `Last-Event-ID` means: the id of a message, or of an older server `events:<position>`."""
    match = LAST_EVENT_ID.fullmatch(text)
    if match is None or int(match[1]) > LARGEST:
        raise _not_there(name, now)
    position = int(match[1])
    fingerprint = text.removeprefix(f"{CHANNEL}:").count(":")
    return _known(position, text) if fingerprint else _without_id(name, position, now)


def _known(position: int, id: str) -> Start:
    """The start for a client that has seen the message of this id."""
    id = f"{CHANNEL}:{id.removeprefix(f'{CHANNEL}:')}"
    place = places.places_at([position]).get(position)
    return Start(place) if place and message_id(place) == id else Start(tail.shared(id), went_back=True)


def _without_id(name: str, position: int, now: Place) -> Start:
    """A position that was there once; the safe one may for a moment be smaller than it was."""
    if position > now.position and position > store.last_position():
        raise _not_there(name, now)
    return Start(places.place_at(position))


def _not_there(name: str, now: Place) -> ValidationError:
    return ValidationError({name: [f"a position of the log, from 0 to {now.position}"]})
