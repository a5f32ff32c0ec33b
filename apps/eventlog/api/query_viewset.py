"""A query over HTTP: the rows that the user may see, not older than a position, with the version as ETag."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any, ClassVar
from uuid import UUID

import msgspec
from django.db.models import QuerySet
from django.http import HttpResponseNotModified
from django.urls.converters import UUIDConverter
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.exceptions import NotFound
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet

from apps.eventlog import store
from apps.eventlog.api.access import DeclaredAccess, open_to
from apps.eventlog.api.authentication import customer_id
from apps.eventlog.api.conditions import await_position, etag, has_it_already, not_stored
from apps.eventlog.api.documents import Documents, DocumentSerializer
from apps.eventlog.api.event_serializers import EventReadSerializer
from apps.eventlog.api.filters import InstantParameter, StrictFilterBackend, check_parameters, filters_of
from apps.eventlog.api.pagination import KeysetPagination
from apps.eventlog.api.problems import Unavailable
from apps.eventlog.api.set_aside import SetAside, may_see
from apps.eventlog.database import replicas
from apps.eventlog.delivery import checkpoints, identity
from apps.eventlog.events import RecordedEvent
from apps.eventlog.store import LogWentBack

LOG_WENT_BACK = "log-went-back"  # the header Read-Model of an answer from rows that show another log

# The digits of a UUID are read in either case (RFC 9562). Django's converter takes lower case alone, and to register
# another one by its name is deprecated.
UUIDConverter.regex = "[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}"


class WhenSerializer(serializers.Serializer[None]):
    """Which state of a document is asked for: at an instant (inclusive), or of a version."""

    at = InstantParameter(required=False, default=None)
    version = serializers.IntegerField(required=False, default=None, min_value=1, max_value=2**31 - 1)

    def validate(self, fields: dict[str, Any]) -> dict[str, Any]:
        if fields["at"] is not None and fields["version"] is not None:
            raise serializers.ValidationError({"version": ["either at or version, not both"]})
        return fields


class QueryViewSet(GenericViewSet[Any]):
    """Base of the read viewsets: GET only. Staff who may see the model see all rows, a customer only their own.

    A subclass names its service, the category of its documents' streams, a query function that answers all `rows`, and
    the column of the rows that has the id of the customer (`owner`).
    """

    service: ClassVar[str]
    category: ClassVar[str]
    owner: ClassVar[str]
    rows: ClassVar[Callable[[], QuerySet[Any]]]
    serializer_class: type[DocumentSerializer]
    permission_classes = [DeclaredAccess]
    lookup_value_converter = "uuid"

    def dispatch(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        """A query reads at the replica of its service, if there is one that answers; a command at the primary."""
        answer = partial(super().dispatch, request, *args, **kwargs)
        return replicas.asked(self.service, answer) if request.method in ("GET", "HEAD") else answer()

    def handle_exception(self, exc: Exception) -> Response:
        if replicas.at_fault(self.service, exc):
            raise exc
        return super().handle_exception(exc)

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        if request.method in ("GET", "HEAD"):
            await_position(request, self.service, self._shows)

    def finalize_response(self, request: Request, response: Any, *args: Any, **kwargs: Any) -> Any:
        response = super().finalize_response(request, response, *args, **kwargs)
        if identity.recently_stopped(self.service):
            response["Read-Model"] = LOG_WENT_BACK
        return not_stored(response)

    def _shows(self, position: int) -> bool:
        """Do the rows that queries read show the log up to a position? A request that waits asks in another thread.

        Raises `Unavailable` if they show another log.
        """
        return replicas.asked(self.service, partial(self._reached, position))

    def _reached(self, position: int) -> bool:
        try:
            return checkpoints.reached(self.service, position)
        except LogWentBack as error:
            if replicas.at_replica(self.service):
                raise replicas.ReplicaFailed from error  # the primary may have been repaired since
            identity.went_back(self.service)  # so it is reported
            raise Unavailable("the log went back, and the rows show events that it no longer has") from error

    @property
    def documents(self) -> Documents:
        kind: Any = type(self)
        return Documents(kind.rows, self.serializer_class, self.owner, filters_of(kind))

    def get_queryset(self) -> QuerySet[Any]:
        """The rows that the user may see."""
        return self.documents.of(customer_id(self.request))

    @open_to("view", customers=True)
    def list(self, request: Request) -> Response:
        """All documents for staff, their own for a customer, page by page."""
        filters, ordering = StrictFilterBackend().wanted(request, self)
        return self.page(self.documents, customer_id(request), filters, ordering)

    @open_to("view", customers=True)
    @extend_schema(parameters=[WhenSerializer])
    def retrieve(self, request: Request, pk: UUID) -> Response | HttpResponseNotModified:
        """The document as it is now. With `at` or `version`: as it was then, folded from the log."""
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
        position = position_then(self.stream_of(pk), **when.validated_data)
        row = None if position is None else self.row_at(pk, position)
        if row is None:
            raise NotFound("it did not exist then")
        return row

    def row_at(self, pk: Any, position: int) -> Any | None:
        """The row as it was at a position of the log; None before its creation."""
        raise NotImplementedError

    @open_to("view", customers=True)
    @extend_schema(responses=EventReadSerializer(many=True))
    @action(detail=True, filter_backends=[])
    def history(self, request: Request, pk: Any) -> Response:
        """The events of this stream, oldest first."""
        check_parameters(request, {"limit", "cursor"})
        pagination, customer = KeysetPagination(), customer_id(request)
        part = partial(_part_of, self.stream_of(pk))
        events = pagination.page(request, ["stream_version"], part, _version, RecordedEvent.size)
        return pagination.get_paginated_response([recorded.document(customer) for recorded in events])

    def document(self, pk: UUID) -> tuple[msgspec.Raw, int]:
        """The document and its version. Raises `OutOfDate`, and NotFound also if the user may not see it."""
        set_aside = SetAside.of(self.request, self.documents)
        found = self.documents.find(pk, customer_id(self.request))
        if found is None:
            self._require_set_aside(pk)
        set_aside.refuse([pk])
        if found is None:
            raise NotFound("not found")
        return found

    def stream_of(self, pk: UUID) -> str:
        """The stream of the asker's document, which the log has also if the rows lack it; raises NotFound."""
        if self.documents.find(pk, customer_id(self.request)) is None:
            self._require_set_aside(pk)
        return f"{self.category}-{pk}"

    def _require_set_aside(self, pk: UUID) -> None:
        if not may_see(self.service, f"{self.category}-{pk}", customer_id(self.request)):
            raise NotFound("not found")

    def page(
        self,
        documents: Documents,
        owner: UUID | None = None,
        filters: Mapping[str, Any] | None = None,
        ordering: Sequence[str] | None = None,
    ) -> Response:
        """The page of documents that the request asks for, by `limit` and `cursor`; raises `OutOfDate`."""
        set_aside = SetAside.of(self.request, documents)
        pagination, fetch = KeysetPagination(), partial(documents.page, owner, filters or {})
        page = pagination.page(
            self.request, list(ordering or documents.ordering), fetch, lambda row: list(row)[2:], _size
        )
        set_aside.refuse([row[1] for row in page])
        set_aside.refuse_missing(documents.owner_asked_for(owner, filters or {}))
        return pagination.get_paginated_response([msgspec.Raw(row[0]) for row in page])


def _size(row: Any) -> int:
    return len(row[0])


def position_then(stream: str, at: datetime | None, version: int | None) -> int | None:
    """The position that an instant means, or at which a stream reached a version; None if it never did."""
    if at is not None:
        return store.position_at(at)
    return store.position_of(stream, version)


def _version(recorded: RecordedEvent) -> list[int]:
    return [recorded.stream_version]


def _part_of(stream: str, order: list[str], values: list[int], size: int) -> list[RecordedEvent]:
    """A page of the events of a stream. It begins beyond a version, or before it if the order is descending."""
    if order == ["stream_version"]:
        return list(store.read_stream(stream, after_version=values[0] if values else 0, limit=size))
    after = max(0, values[0] - 1 - size)
    return list(store.read_stream(stream, after_version=after, limit=values[0] - 1 - after))[::-1]
