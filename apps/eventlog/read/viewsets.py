"""The feed of the log and the catalog of its event types; for staff."""

from datetime import timedelta

from django.http import StreamingHttpResponse
from rest_framework.decorators import action
from rest_framework.exceptions import ValidationError
from rest_framework.permissions import IsAdminUser
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet

from apps.eventlog import broadcast, checkpoints, schemas, store
from apps.eventlog.dead_letters import open_letters
from apps.eventlog.events import DomainEvent, RecordedEvent
from apps.eventlog.http.events import EventReadSerializer
from apps.eventlog.http.filters import refuse_unknown_parameters
from apps.eventlog.http.problems import Unavailable
from apps.eventlog.models import StoredEvent
from apps.eventlog.projectors import Projector, services
from apps.eventlog.read.serializers import FeedQuerySerializer


class EventStreamRenderer(BaseRenderer):
    """Lets `Accept: text/event-stream` through; the stream itself is not rendered."""

    media_type = "text/event-stream"
    format = "event-stream"


class EventReadViewSet(GenericViewSet[StoredEvent]):
    """GET only."""

    permission_classes = [IsAdminUser]
    serializer_class = EventReadSerializer
    queryset = StoredEvent.objects.none()  # the feed reads by position, see list

    def list(self, request: Request) -> Response:
        """Events by position; `next` is where to go on, null at the end."""
        refuse_unknown_parameters(request, set(FeedQuerySerializer().fields))
        query = FeedQuerySerializer(data=request.query_params.dict())
        query.is_valid(raise_exception=True)
        where = dict(query.validated_data)
        after, limit, end = where.pop("after"), where.pop("limit"), store.safe_position()
        if since := where.pop("since", None):
            after = max(after, store.position_at(since - timedelta(microseconds=1)))
        if until := where.pop("until", None):
            end = min(end, store.position_at(until))
        rows = list(store.find(**where, position__gt=after, position__lte=end)[: limit + 1])
        more, rows = len(rows) > limit, rows[:limit]
        results = EventReadSerializer(rows, many=True).data
        return Response({"results": results, "next": rows[-1].position if more else None})

    @action(detail=False)
    def catalog(self, request: Request) -> Response:
        """Every event type, its current version with the JSON Schema of its payload, and all versions there were."""
        refuse_unknown_parameters(request, set())
        results = [
            {
                "type": name,
                "schema_version": kind.schema_version,
                "schema": schemas.schema(kind),
                "versions": [{"schema_version": n, "schema": schema} for n, schema in schemas.versions(kind)],
            }
            for name, kind in sorted(DomainEvent.types.items())
        ]
        return Response({"results": results, "next": None, "previous": None})

    @action(detail=False)
    def status(self, request: Request) -> Response:
        """Where the log ends, and how far each projector is."""
        refuse_unknown_parameters(request, set())
        return Response(
            {
                "head": store.safe_position(),
                "projectors": [
                    {
                        "name": name,
                        "service": service,
                        "position": place,
                        "lag": checkpoints.lag(Projector.registry[name], place),
                        "dead_letters": open_letters(service).filter(projector=name).count(),
                    }
                    for service in services()
                    for name, place in checkpoints.places(service).items()
                ],
            }
        )

    @action(detail=False, renderer_classes=[EventStreamRenderer])
    def stream(self, request: Request) -> StreamingHttpResponse:
        """Events as they are appended, as Server-Sent Events; `Last-Event-ID` or `after` resume from the log."""
        refuse_unknown_parameters(request, {"after", "type", "stream", "category"})
        if not request.META.get("asgi"):
            raise Unavailable("the live stream needs the ASGI server: uvicorn config.asgi:application")
        query = request.query_params

        def wanted(recorded: RecordedEvent) -> bool:
            return all(query.get(name) in (None, getattr(recorded, name)) for name in ("type", "stream", "category"))

        response = StreamingHttpResponse(
            broadcast.stream(_start(request), wanted), content_type="text/event-stream; charset=utf-8"
        )
        response["Cache-Control"], response["X-Accel-Buffering"] = "no-cache", "no"
        return response


def _start(request: Request) -> int:
    """The position to stream from: the last one seen, `after`, or now."""
    head = store.safe_position()
    for name, text in (
        ("Last-Event-ID", request.headers.get("Last-Event-ID", "").removeprefix(f"{broadcast.CHANNEL}:")),
        ("after", request.query_params.get("after")),
    ):
        if text:
            if not (text.isascii() and text.isdigit() and len(text) <= 18 and int(text) <= head):
                raise ValidationError({name: [f"a position of the log, from 0 to {head}"]})
            return int(text)
    return head
