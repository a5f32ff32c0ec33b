"""What people have at hand to search by: an id or its beginning, a stream, an event id, a name, a reference."""

import re
from functools import reduce
from operator import or_
from typing import Any
from uuid import UUID

from django.core.exceptions import ValidationError
from django.db.models import Q, UUIDField

from apps.eventlog.admin import html
from apps.eventlog.models import StoredEvent

SHORTEST = 4  # digits of the beginning of an id, so that a range of ids holds few
MOST = 20  # streams or events that the beginning of an id is looked up to
WORDS = 10  # of a search term that are looked for


def digits_of(term: str) -> str:
    """The digits of an id or of its beginning, without dashes; empty if the term is neither."""
    digits = term.replace("-", "").lower()
    return digits if re.fullmatch(f"[0-9a-f]{{{SHORTEST},32}}", digits) else ""


def id_in(stream: str) -> str:
    """What follows the category of a stream, if the term is a stream or its beginning; otherwise the term."""
    category, _, id = stream.partition("-")
    return id if category in html.main_pages() else stream


def begins(column: str, digits: str) -> Q:
    """Rows whose UUID begins with these digits. It is a range, for which both engines use the index."""
    low, high = UUID(digits.ljust(32, "0")), UUID(digits.ljust(32, "f"))
    return Q(**{f"{column}__gte": low, f"{column}__lte": high})


def dashed(digits: str) -> str:
    """The digits as the ids in streams are written."""
    parts = (digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:])
    return "-".join(part for part in parts if part)


def exact(field: Any, term: str) -> Q | None:
    """Rows that have this value in a column, or an id that begins so; None if the column cannot have it."""
    if isinstance(field, UUIDField):
        digits = digits_of(id_in(term))
        return begins(field.name, digits) if digits else None
    if field.name == "stream":
        return Q(stream__in=streams_and_events(term))
    if field.name == "key":
        return _key(term)
    try:
        return Q(**{field.name: term}) if field.to_python(term) is not None else None
    except ValidationError:
        return None


def _key(term: str) -> Q:
    """A key of a process is often the id of a stream."""
    digits = digits_of(id_in(term))
    return Q(key__in=[term, dashed(digits)]) | (Q(key__startswith=dashed(digits)) if digits else Q())


def containing(columns: list[str], term: str) -> list[Q]:
    """Rows that have each word of the term in one of these columns: one condition for each word."""
    return [reduce(or_, [Q(**{f"{column}__icontains": word}) for column in columns]) for word in term.split()[:WORDS]]


def streams(term: str) -> list[str]:
    """The streams that a term means: itself, those with this id or its beginning."""
    digits = digits_of(id_in(term))
    if not digits:
        return [term]
    known, whole = html.main_pages(), term == id_in(term)
    begun = [f"{category}-{dashed(digits)}" for category in known if whole or term.startswith(f"{category}-")]
    if len(digits) == 32:
        return begun
    # In the order of the column, `g` comes after every digit. Each range is read by the index of streams.
    rows = [StoredEvent.objects.filter(stream__gte=each, stream__lt=f"{each}g", stream_version=1) for each in begun]
    return [stream for part in rows for stream in part.order_by("stream").values_list("stream", flat=True)[:MOST]]


def existing(names: list[str]) -> list[str]:
    """Those of these streams that are in the log and have a page of their own, in the order of their names."""
    found = StoredEvent.objects.filter(stream__in=names, stream_version=1).values_list("stream", flat=True)
    return [stream for stream in sorted(found) if html.row_url(stream)]


def events(term: str) -> list[int]:
    """The positions of the events whose id is the term, or begins so."""
    digits = digits_of(term)
    if not digits:
        return []
    found = StoredEvent.objects.filter(begins("event_id", digits)).order_by("event_id")
    return list(found.values_list("position", flat=True)[:MOST])


def streams_and_events(term: str) -> list[str]:
    """The streams that a term means, and those of the events that it means."""
    of_events = StoredEvent.objects.filter(pk__in=events(term)).values_list("stream", flat=True)
    return [*streams(term), *of_events]
