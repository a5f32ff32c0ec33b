"""The web side of a query: one's own rows, as of a position, with the version as ETag."""

from typing import Any, ClassVar

from django.db.models import QuerySet
from django.shortcuts import get_object_or_404
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.exceptions import NotFound
from rest_framework.permissions import IsAuthenticated
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet

from apps.eventlog import past, store
from apps.eventlog.http.conditions import await_position, etag
from apps.eventlog.http.events import EventReadSerializer
from apps.eventlog.http.filters import refuse_unknown_parameters


class WhenSerializer(serializers.Serializer[None]):
    """Which state of a document: at an instant, inclusive, or of a version."""

    at = serializers.DateTimeField(required=False, default=None)
    version = serializers.IntegerField(required=False, default=None, min_value=1, max_value=2**31 - 1)

    def validate(self, fields: dict[str, Any]) -> dict[str, Any]:
        if fields["at"] is not None and fields["version"] is not None:
            raise serializers.ValidationError({"version": ["either at or version, not both"]})
        return fields


class QueryViewSet(GenericViewSet[Any]):
    """Base of the read viewsets: GET only, over the rows that the asker may see.

    A subclass says which service answers, which category the documents' streams have, and in
    `get_queryset` which rows are the asker's.
    """

    service: ClassVar[str]
    category: ClassVar[str]
    permission_classes = [IsAuthenticated]
    lookup_value_converter = "uuid"

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        if request.method in ("GET", "HEAD"):
            await_position(request, self.service)

    def list(self, request: Request) -> Response:
        return self.pages(self.filter_queryset(self.get_queryset()), self.get_serializer_class())

    def retrieve(self, request: Request, pk: Any) -> Response:
        """The document as it is, or with `at` or `version` as it stood then, folded from the log."""
        document = self.get_serializer(self.row_then(request, pk) if request.query_params else self.row(pk)).data
        return Response(document, headers={"ETag": etag(document["version"])})

    def row_then(self, request: Request, pk: Any) -> Any:
        refuse_unknown_parameters(request, {"at", "version"})
        when = WhenSerializer(data=request.query_params.dict())
        when.is_valid(raise_exception=True)
        self.row(pk)
        position = past.position_then(f"{self.category}-{pk}", **when.validated_data)
        row = None if position is None else self.row_at(pk, position)
        if row is None:
            raise NotFound("it was not there then")
        return row

    def row_at(self, pk: Any, position: int) -> Any | None:
        """The row as it stood at a position of the log; None before its creation."""
        raise NotImplementedError

    @extend_schema(responses=EventReadSerializer(many=True))
    @action(detail=True)
    def history(self, request: Request, pk: Any) -> Response:
        """The events of this one, oldest first."""
        refuse_unknown_parameters(request, {"limit", "cursor"})
        self.row(pk)
        rows = self.paginate_queryset(store.find(stream=f"{self.category}-{pk}"))
        events = store.recorded(store.find(position__in=[row.position for row in rows or ()]))
        return self.get_paginated_response([recorded.document() for recorded in events])

    def row(self, pk: Any) -> Any:
        """The asker's row; raises NotFound for another's."""
        return get_object_or_404(self.get_queryset(), pk=pk)

    def pages(self, rows: QuerySet[Any], serializer: Any) -> Response:
        return self.get_paginated_response(serializer(self.paginate_queryset(rows), many=True).data)
