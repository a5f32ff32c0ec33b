"""Rows that are older than the position that a query asks for, because events of their streams are set aside.

The checkpoint of a projector passes the events that it sets aside. So the rows reach `Min-Event-Position`, and one of
them still does not show such an event. An answer with that row would be stale, and so would a list that lacks it.
"""

from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Self
from uuid import UUID

from django.db.models import Model
from rest_framework.request import Request

from apps.eventlog import store
from apps.eventlog.api.documents import Documents
from apps.eventlog.api.problems import Unavailable
from apps.eventlog.delivery.dead_letters import open_dead_letters, streams_set_aside
from apps.eventlog.live.stream_owners import Owners
from apps.eventlog.projectors import Projector, RowProjector

MOST = 1000  # streams whose rows a list looks for

Streams = dict[UUID, str]  # by the id of their row


class OutOfDate(Unavailable):
    """The rows do not show an event, and will not until somebody settles its dead letter."""

    wait = 30

    def __init__(self) -> None:
        super().__init__("an event that this answer should show is set aside; see the dead letters")


@dataclass(frozen=True, slots=True)
class SetAside:
    """What is set aside of some documents, up to the `Min-Event-Position` of a request.

    `own` are the documents' own streams; `shown` are streams of other rows that the documents show, by the column that
    names the row. `any` is true if each document may be concerned: then a projector that is not a `RowProjector` has
    set an event aside, or the documents do not tell which other rows they show.
    """

    documents: Documents
    own: Streams = field(default_factory=dict)
    shown: Mapping[str, Streams] = field(default_factory=dict)
    any: bool = False

    @classmethod
    def of(cls, request: Request, documents: Documents) -> Self:
        """Ask this before the rows are read, so that they show what is retried with success in between.

        Nothing is set aside if the request names no position. `conditions.await_position` has checked the header.
        """
        header = request.headers.get("Min-Event-Position")
        own: Any = documents.serializer.Meta.model  # type: ignore[attr-defined]
        by_projector = streams_set_aside(own._meta.app_label, int(header)) if header else {}
        if not by_projector:
            return cls(documents)
        shown = documents.serializer.shown_rows
        found = {column: _streams_of(model, by_projector) for column, model in {"": own, **shown}.items()}
        known = {column: streams for column, streams in found.items() if streams}
        untold = bool(documents.serializer.shows_other_streams) and not shown
        return cls(documents, known.pop("", {}), known, any=untold or None in found.values())

    def refuse(self, ids: Collection[UUID]) -> None:
        """Raise `OutOfDate` if one of the documents with these ids is out of date."""
        if self.any or not self.own.keys().isdisjoint(ids):
            raise OutOfDate
        for column, streams in self.shown.items():
            rows = self.documents.rows().filter(pk__in=ids).order_by()
            if not streams.keys().isdisjoint(rows.values_list(column, flat=True)):
                raise OutOfDate

    def refuse_missing(self, owner: UUID | None) -> None:
        """Raise `OutOfDate` if a document of this owner (None: of anybody) is set aside since its first event."""
        if len(self.own) > MOST:
            raise OutOfDate
        if self.own:
            there = set(self.documents.rows().filter(pk__in=self.own).order_by().values_list("pk", flat=True))
            if _any_of([stream for id, stream in self.own.items() if id not in there], owner):
                raise OutOfDate


def may_see(service: str, stream: str, owner: UUID | None) -> bool:
    """Is this a stream of the owner (None: of anybody) that the rows do not show, because it is set aside?"""
    return open_dead_letters(service).filter(stream=stream).exists() and _any_of([stream], owner)


def _streams_of(model: type[Model], by_projector: Mapping[str, set[str]]) -> Streams | None:
    """The streams of the rows of a model that are set aside; None if that is not one stream for each row."""
    streams: Streams = {}
    for kind in Projector.registry.values():
        if model in kind.models and kind.name in by_projector:
            if not issubclass(kind, RowProjector):
                return None
            for stream in by_projector[kind.name]:
                with suppress(ValueError):  # a stream without an id has no row
                    streams[UUID(stream.partition("-")[2])] = stream
    return streams


def _any_of(streams: Collection[str], owner: UUID | None) -> bool:
    """Is one of these streams the owner's? If its first event cannot be read, it is nobody's but the staff's."""
    if owner is None or not streams:
        return bool(streams)
    return owner in Owners().of(store.first_events(streams)).values()
