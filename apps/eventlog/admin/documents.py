"""Pages of read models with one row for each stream: the row, its history, and the row at any version or instant."""

from collections.abc import Iterable
from contextlib import suppress
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from django.contrib.admin.views.main import ChangeList
from django.db.models import Count, Min, Model, Q
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import path, reverse
from django.utils.safestring import SafeString

from apps.eventlog.admin import html, searching
from apps.eventlog.admin.changelist import KeysetChangeList
from apps.eventlog.admin.html import actor_link, link, stream_link
from apps.eventlog.admin.pages import needs_view
from apps.eventlog.admin.readonly import ReadOnlyAdmin
from apps.eventlog.api.conditions import not_stored
from apps.eventlog.api.query_viewset import WhenSerializer, position_then
from apps.eventlog.delivery.dead_letters import open_dead_letters
from apps.eventlog.events import UnknownEvent
from apps.eventlog.models import StoredEvent
from apps.eventlog.processing import settling
from apps.eventlog.projectors import Projector, RowProjector

SHOWN = 200  # events of the history on a page
OWNED = 10  # rows of another list that belong to this one, on its page


class Related(NamedTuple):
    """Rows of another list that belong to the row of a page: the newest, and where all are."""

    title: str
    rows: list[tuple[str, str]]  # the text and the URL of each
    more: bool
    url: str


class DocumentChangeList(KeysetChangeList):
    """Says of which rows of a page events are set aside, so that the rows do not show them."""

    set_aside: list[str]

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        page: Any = self.model_admin
        streams = {f"{page.category}-{row.pk}": str(row) for row in self.result_list}
        found = open_dead_letters(self.opts.app_label).filter(stream__in=streams, projector__in=_writers(self.model))
        self.set_aside = [
            stream_link(each, streams[each]) for each in sorted(set(found.values_list("stream", flat=True)))
        ]


def _writers(model: type[Model]) -> list[str]:
    """The projectors that write the rows of a model."""
    return [kind.name for kind in Projector.registry.values() if model in kind.models]


class DocumentAdmin(ReadOnlyAdmin):
    """A slider shows the row as of any version or instant, and the difference between two versions.

    A subclass names the `category` of the streams. `is_copy`: its rows are copies of what another service's rows stand
    for.
    """

    change_form_template = "eventlog/admin/document.html"
    category: str
    is_copy = False
    findable = True

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return DocumentChangeList

    def other_way(self, term: str) -> Q | None:
        """The rows of the events whose id is the term, or begins so."""
        found = StoredEvent.objects.filter(pk__in=searching.events(term), category=self.category)
        ids = list(_ids(found.values_list("stream", flat=True)))
        return Q(pk__in=ids) if ids else None

    def get_urls(self) -> list[Any]:
        name = f"{self.opts.app_label}_{self.opts.model_name}_then"
        then = self.admin_site.admin_view(self.then)
        return [path("<uuid:id>/then/", then, name=name), *super().get_urls()]

    @needs_view
    def then(self, request: HttpRequest, id: UUID) -> HttpResponse:
        """The row as it was `at` an instant or at a `version`, folded from the log; 404 if it was not there yet."""
        when = WhenSerializer(data=request.GET.dict())
        if not when.is_valid():
            return JsonResponse({"detail": "this is no instant, or no version"}, status=400)
        try:
            row = row_then(self.model, f"{self.category}-{id}", **when.validated_data)
        except UnknownEvent as error:
            return JsonResponse({"detail": f"this code cannot read the stream: {error}"}, status=503)
        if row is None:
            return JsonResponse({"detail": "it was not there yet"}, status=404)
        fields = {field.attname: field.value_from_object(row) for field in row._meta.concrete_fields}
        return not_stored(JsonResponse(fields))  # type: ignore[no-any-return]

    def page_context(self, request: HttpRequest, row: Any) -> dict[str, Any]:
        stream = f"{self.category}-{row.pk}"
        history = list(StoredEvent.objects.filter(stream=stream).order_by("-position")[:SHOWN])
        return {
            "then_url": reverse(f"admin:{self.opts.app_label}_{self.opts.model_name}_then", args=[row.pk]),
            "began_at": history[-1].recorded_at if history and history[-1].stream_version == 1 else None,
            "history": [
                (event, cause, stream_link(cause.stream) if cause else actor_link(event.metadata.get("actor", "")))
                for event, cause in zip(history, causes_of(history), strict=True)
            ],
            "stream": stream,
            "set_aside": set_aside(stream),
            "related": [] if self.is_copy else related_to(request, self.category, row.pk),
        }


def row_then(model: type[Model], stream: str, *, at: datetime | None, version: int | None) -> Any | None:
    """The row of a stream as it stood then, folded by the projector of the model; None if it did not exist."""
    position = position_then(stream, at, version)
    [kind] = [kind for kind in Projector.registry.values() if model in kind.models and issubclass(kind, RowProjector)]
    return None if position is None else kind.row_at(UUID(stream.partition("-")[2]), position)


def set_aside(stream: str) -> list[SafeString]:
    """What the readers of all services have set aside of a stream: a sentence for each reader, with a link."""
    readers = settling.readers()
    return [
        _said_of(readers[name], stream, count, first)
        for service in sorted({kind.service for kind in readers.values()})
        for name, count, first in open_dead_letters(service)
        .filter(stream=stream, projector__in=readers)
        .order_by("projector")
        .values_list("projector")
        .annotate(Count("pk"), Min("position"))
    ]


def _said_of(kind: Any, stream: str, count: int, first: int) -> SafeString:
    events = f"{count} event{'s' * (count != 1)} of this stream"
    if kind.name in Projector.registry:
        text = f"{kind.name} has set aside {events}, from position {first} on: its rows do not show them."
    else:
        text = f"{kind.name} could not answer {events}, from position {first} on."
    return link(text, f"{kind.service}_deadletter_changelist", q=stream, projector=kind.name)


def _ids(streams: Iterable[str]) -> Iterable[UUID]:
    for stream in streams:
        with suppress(ValueError):  # a stream without an id has no row
            yield UUID(stream.partition("-")[2])


def causes_of(events: list[StoredEvent]) -> list[StoredEvent | None]:
    """For each event the one that led to it; None if a command of somebody did."""
    ids = [_uuid(str(event.metadata.get("causation_id", ""))) for event in events]
    known = {event.event_id: event for event in StoredEvent.objects.filter(event_id__in={id for id in ids if id})}
    return [known.get(id) if id else None for id in ids]


def _uuid(text: str) -> UUID | None:
    with suppress(ValueError):
        return UUID(text)
    return None


def related_to(request: HttpRequest, category: str, id: UUID) -> list[Related]:
    """The rows of other lists that belong to the stream with this id, of the lists that one may see."""
    return [
        _related(model, page, column, id)
        for model, page in html.pages().items()
        if (column := getattr(page, "owners", {}).get(category)) and page.has_view_permission(request)
    ]


def _related(model: type[Model], page: Any, column: str, id: UUID) -> Related:
    name = f"{model._meta.app_label}_{model._meta.model_name}"
    found = list(model._default_manager.filter(**{column: id})[: OWNED + 1])
    rows = [(str(row), html.url(f"{name}_change", row.pk)) for row in found[:OWNED]]
    title = str(model._meta.verbose_name_plural).capitalize()
    return Related(title, rows, len(found) > OWNED, html.url(f"{name}_changelist", **{column: id}))
