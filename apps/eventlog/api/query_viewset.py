"""The web side of a query: one's own rows, as of a position, with the version as ETag."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any, ClassVar
from uuid import UUID

import msgspec
from django.db.models import QuerySet
from django.http import HttpResponseNotModified
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.exceptions import NotFound
from rest_framework.permissions import IsAuthenticated
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet

from apps.eventlog import store
from apps.eventlog.api.authentication import customer_id
from apps.eventlog.api.conditions import await_position, etag, has_it_already
from apps.eventlog.api.documents import Documents, DocumentSerializer
from apps.eventlog.api.event_serializers import EventReadSerializer
from apps.eventlog.api.filters import StrictFilterBackend, check_parameters, filters_of
from apps.eventlog.api.pagination import KeysetPagination
from apps.eventlog.api.problems import Unavailable
from apps.eventlog.delivery import checkpoints, identity
from apps.eventlog.events import RecordedEvent
from apps.eventlog.store import LogWentBack

LOG_WENT_BACK = "log-went-back"  # the header Read-Model of an answer from rows that show another log


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

    A subclass says which service answers, which category the documents' streams have, which `rows`
    there are (a query function) and which column of theirs names the customer whose they are.
    """

    service: ClassVar[str]
    category: ClassVar[str]
    owner: ClassVar[str]
    rows: ClassVar[Callable[[], QuerySet[Any]]]
    serializer_class: type[DocumentSerializer]
    permission_classes = [IsAuthenticated]
    lookup_value_converter = "uuid"

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        if request.method in ("GET", "HEAD"):
            await_position(request, self.service, self._shows)

    def finalize_response(self, request: Request, response: Any, *args: Any, **kwargs: Any) -> Any:
        response = super().finalize_response(request, response, *args, **kwargs)
        if identity.recently_stopped(self.service):
            response["Read-Model"] = LOG_WENT_BACK
        return response

    def _shows(self, position: int) -> bool:
        """Do the rows show the log up to a position? Raises `Unavailable` if they show another log."""
        try:
            return checkpoints.reached(self.service, position)
        except LogWentBack as error:
            identity.went_back(self.service)  # so it is reported
            raise Unavailable("the log went back, and the rows show events that it no longer has") from error

    @property
    def documents(self) -> Documents:
        kind: Any = type(self)
        return Documents(kind.rows, self.serializer_class, self.owner, filters_of(kind))

    def get_queryset(self) -> QuerySet[Any]:
        """The rows that the asker may see."""
        return self.documents.of(customer_id(self.request))

    def list(self, request: Request) -> Response:
        """One's own, page by page."""
        filters, ordering = StrictFilterBackend().wanted(request, self)
        return self.page(self.documents, customer_id(request), filters, ordering)

    @extend_schema(parameters=[WhenSerializer])
    def retrieve(self, request: Request, pk: UUID) -> Response | HttpResponseNotModified:
        """The document as it is, or with `at` or `version` as it stood then, folded from the log."""
        if request.query_params:
            then = self.get_serializer(self.row_then(request, pk)).data
            return Response(then, headers={"ETag": etag(then["version"])})
        document, version = self.document(pk)
        headers = {"ETag": etag(version)}
        if has_it_already(request, version) and not self.serializer_class.shows_other_streams:
            return HttpResponseNotModified(headers=headers)
        return Response(document, headers=headers)

    def row_then(self, request: Request, pk: Any) -> Any:
        check_parameters(request, {"at", "version"})
        when = WhenSerializer(data=request.query_params.dict())
        when.is_valid(raise_exception=True)
        self.document(pk)
        position = _position(f"{self.category}-{pk}", **when.validated_data)
        row = None if position is None else self.row_at(pk, position)
        if row is None:
            raise NotFound("it was not there then")
        return row

    def row_at(self, pk: Any, position: int) -> Any | None:
        """The row as it stood at a position of the log; None before its creation."""
        raise NotImplementedError

    @extend_schema(responses=EventReadSerializer(many=True))
    @action(detail=True, filter_backends=[])
    def history(self, request: Request, pk: Any) -> Response:
        """The events of this one, oldest first."""
        check_parameters(request, {"limit", "cursor"})
        self.document(pk)
        pagination = KeysetPagination()
        events = pagination.page(request, ["stream_version"], partial(_part_of, f"{self.category}-{pk}"), _version)
        return pagination.get_paginated_response([recorded.document() for recorded in events])

    def document(self, pk: UUID) -> tuple[msgspec.Raw, int]:
        """The asker's document and its version; raises NotFound for another's."""
        found = self.documents.find(pk, customer_id(self.request))
        if found is None:
            raise NotFound("not found")
        return found

    def page(
        self,
        documents: Documents,
        owner: UUID | None = None,
        filters: Mapping[str, Any] | None = None,
        ordering: Sequence[str] | None = None,
    ) -> Response:
        """The page of documents that the request asks for, by `limit` and `cursor`."""
        pagination, fetch = KeysetPagination(), partial(documents.page, owner, filters or {})
        page = pagination.page(self.request, list(ordering or documents.ordering), fetch, lambda row: list(row)[1:])
        return pagination.get_paginated_response([msgspec.Raw(row[0]) for row in page])


def _position(stream: str, at: datetime | None, version: int | None) -> int | None:
    """The position that an instant means, or at which a stream reached a version; None for one it never had."""
    if at is not None:
        return store.position_at(at)
    return store.position_of(stream, version)


def _version(recorded: RecordedEvent) -> list[int]:
    return [recorded.stream_version]


def _part_of(stream: str, order: list[str], values: list[int], size: int) -> list[RecordedEvent]:
    """So many events of a stream beyond a version; in descending order, before it. Versions have no gaps."""
    if order == ["stream_version"]:
        return list(store.read_stream(stream, after_version=values[0] if values else 0, limit=size))
    after = max(0, values[0] - 1 - size)
    return list(store.read_stream(stream, after_version=after, limit=values[0] - 1 - after))[::-1]
