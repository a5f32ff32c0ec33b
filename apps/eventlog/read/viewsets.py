"""The feed of the log and the catalog of its event types; for staff."""

from datetime import timedelta

import msgspec
from rest_framework.decorators import action
from rest_framework.permissions import IsAdminUser
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet

from apps.eventlog import store
from apps.eventlog.events import DomainEvent
from apps.eventlog.http.events import EventReadSerializer
from apps.eventlog.http.filters import refuse_unknown_parameters
from apps.eventlog.models import StoredEvent
from apps.eventlog.read.serializers import FeedQuerySerializer


class EventReadViewSet(GenericViewSet[StoredEvent]):
    """GET only."""

    permission_classes = [IsAdminUser]
    serializer_class = EventReadSerializer

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
        """Every event type, its current version and the JSON Schema of its payload."""
        refuse_unknown_parameters(request, set())
        results = [
            {"type": name, "schema_version": kind.schema_version, "schema": msgspec.json.schema(kind)}
            for name, kind in sorted(DomainEvent.types.items())
        ]
        return Response({"results": results, "next": None, "previous": None})
