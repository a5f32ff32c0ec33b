"""The feed of the log, the catalog of its event types, and the live stream."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.decorators import action
from rest_framework.exceptions import APIException, NotFound, Throttled
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet

from apps.eventlog import store
from apps.eventlog.api import asyncapi
from apps.eventlog.api.access import DeclaredAccess, open_to
from apps.eventlog.api.authentication import credential_of, customer_id
from apps.eventlog.api.conditions import await_position, not_stored
from apps.eventlog.api.event_serializers import CatalogSerializer, EventReadSerializer, FeedSerializer, StatusSerializer
from apps.eventlog.api.filters import check_parameters
from apps.eventlog.api.options import MethodsAlone
from apps.eventlog.api.pagination import bounded
from apps.eventlog.api.problems import Unavailable
from apps.eventlog.commands import Actor
from apps.eventlog.events import DomainEvent, RecordedEvent
from apps.eventlog.live import stream_owners
from apps.eventlog.live.credentials import SEE_LOG, Credential
from apps.eventlog.live.messages import Filter
from apps.eventlog.live.slots import NoSlotLeft, Slot
from apps.eventlog.live.stream import event_stream
from apps.eventlog.log import places, schema_lock
from apps.eventlog.read import queries, resume
from apps.eventlog.read.metrics import MONITORED_BY
from apps.eventlog.read.serializers import FeedQuerySerializer, StreamPlaceSerializer, StreamQuerySerializer
from apps.eventlog.server.asgi import AsyncResponse

BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)  # no event is older
LAST_SEEN = OpenApiParameter("Last-Event-ID", str, "header", description="the id of the last event that was seen")
STREAM_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}


class EventStreamRenderer(BaseRenderer):
    """Accepts `Accept: text/event-stream`. It renders nothing: the stream is sent as it comes."""

    media_type = "text/event-stream"
    format = "event-stream"


class AnotherEvent(APIException):
    status_code = 409
    default_detail = "the log went back: it does not have this event at this position"


class EventReadViewSet(MethodsAlone, GenericViewSet[Any]):
    """GET only."""

    permission_classes = [DeclaredAccess]
    serializer_class = EventReadSerializer
    filter_backends, pagination_class = [], None
    problems = {"stream": (404, 429), "list": (409,)}

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        await_position(request, "the log", lambda position: store.safe_position() >= position)

    def finalize_response(self, request: Request, response: Any, *args: Any, **kwargs: Any) -> Any:
        return not_stored(super().finalize_response(request, response, *args, **kwargs))

    @open_to(SEE_LOG)
    @extend_schema(parameters=[FeedQuerySerializer], responses=FeedSerializer)
    def list(self, request: Request) -> Response:
        """Events by position. `next` is the `after` of the next page, null at the end.

        With `after=<position>@<event_id>`, the answer is 409 if the log has not that event there: it went back.
        """
        check_parameters(request, set(FeedQuerySerializer().fields))
        query = FeedQuerySerializer(data=request.query_params.dict())
        query.is_valid(raise_exception=True)
        asked = dict(query.validated_data)
        place, limit, end = asked.pop("after"), asked.pop("limit"), store.safe_position()
        after = place.position
        if since := asked.pop("since", None):
            after = max(after, store.position_at(max(since, BEGINNING) - timedelta(microseconds=1)))
        if until := asked.pop("until", None):
            end = min(end, store.position_at(until))
        types = [asked.pop("type")] if "type" in asked else None

        def beyond(event: RecordedEvent | None, size: int) -> list[RecordedEvent]:
            return store.read_page(after=event.position if event else after, end=end, limit=size, types=types, **asked)

        events, more = bounded(beyond, limit, RecordedEvent.size)
        if not (place.event_id is None or places.has(place)):  # asked last: the page is then of this log too
            raise AnotherEvent
        results = [recorded.document() for recorded in events]
        return Response({"results": results, "next": events[-1].position if more else None})

    @open_to(SEE_LOG)
    @extend_schema(responses=CatalogSerializer)
    @action(detail=False)
    def catalog(self, request: Request) -> Response:
        """Every event type, its current version with the JSON Schema of its payload, and all versions there were."""
        check_parameters(request, set())
        results = [
            {
                "type": name,
                "formerly": list(kind.formerly),
                "schema_version": kind.schema_version,
                "schema": schema_lock.schema(kind),
                "versions": [{"schema_version": n, "schema": schema} for n, schema in schema_lock.versions(kind)],
            }
            for name, kind in sorted(DomainEvent.types.items())
        ]
        return Response({"results": results, "next": None, "previous": None})

    @open_to(SEE_LOG)
    @extend_schema(responses=OpenApiTypes.OBJECT)
    @action(detail=False)
    def asyncapi(self, request: Request) -> Response:
        """The catalog as an AsyncAPI 3 document: channels, messages and headers of the events that a relay sends."""
        check_parameters(request, set())
        return Response(asyncapi.document())

    @open_to(SEE_LOG)
    @extend_schema(responses=StatusSerializer)
    @action(detail=False, authentication_classes=MONITORED_BY)
    def status(self, request: Request) -> Response:
        """What is wrong now, where the log ends, and how far each of its readers is."""
        check_parameters(request, set())
        return Response(queries.status(Actor.of(request.user).may))

    @open_to(SEE_LOG, customers=True)
    @extend_schema(
        parameters=[StreamPlaceSerializer, LAST_SEEN], responses={(200, "text/event-stream"): OpenApiTypes.STR}
    )
    @action(detail=False, renderer_classes=[EventStreamRenderer])
    def stream(self, request: Request) -> AsyncResponse:
        """Events as they are appended, as Server-Sent Events; `Last-Event-ID` or `after` resume from the log.

        Staff who may see the log see every event, customers those of their own streams.
        """
        check_parameters(request, set(StreamPlaceSerializer().fields))
        if not request.META.get("asgi"):
            raise Unavailable("the live stream needs the ASGI server: uvicorn config.asgi:application")
        query = StreamQuerySerializer(data=request.query_params.dict())
        query.is_valid(raise_exception=True)
        owner, credential = customer_id(request), credential_of(request)
        if owner is not None:
            _require_own(owner, query.validated_data.get("stream"))
        start, filter = _start(request), Filter(owner=owner, **query.validated_data)
        slot = _slot(credential) if owner is not None else None
        body = event_stream(start.place, filter, credential, went_back=start.went_back, slot=slot)
        return AsyncResponse(body, content_type="text/event-stream; charset=utf-8", headers=STREAM_HEADERS)


def _slot(credential: Credential) -> Slot:
    """The right to one more stream; raises Throttled. Asked for last, so that nothing keeps it from being opened."""
    try:
        return Slot(credential.login, settings.STREAMS_PER_CUSTOMER)
    except NoSlotLeft:
        raise Throttled(detail="too many streams of this login are open") from None


def _require_own(owner: UUID, stream: str | None) -> None:
    """Refuse a customer the stream of another customer. Raises NotFound."""
    if stream is not None and stream_owners.owner_of(stream) != owner:
        raise NotFound("not found")


def _start(request: Request) -> resume.Start:
    """Where to stream from: after the last event seen, else after `after`, else from now."""
    now, starts = store.safe_place(), []
    if seen := request.headers.get("Last-Event-ID"):
        starts.append(resume.last_seen("Last-Event-ID", seen, now))
    if "after" in request.query_params:
        starts.append(resume.after("after", request.query_params["after"], now))
    return starts[0] if starts else resume.Start(now)
