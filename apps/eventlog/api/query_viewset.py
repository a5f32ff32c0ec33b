"""The web side of a query: one's own rows, as of a position, with the version as ETag."""

from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import Any, ClassVar
from uuid import UUID

import msgspec
from django.db.models import QuerySet
from django.http import HttpResponseNotModified
from django.shortcuts import get_object_or_404
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
from apps.eventlog.api.documents import DocumentSerializer, listing, lookup
from apps.eventlog.api.event_serializers import EventReadSerializer
from apps.eventlog.api.filters import check_parameters
from apps.eventlog.api.pagination import KeysetPagination
from apps.eventlog.database.keyset import columns_of, ordering_of
from apps.eventlog.delivery import checkpoints


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
    permission_classes = [DeclaredAccess]
    lookup_value_converter = "uuid"

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        if request.method in ("GET", "HEAD"):
            await_position(request, self.service, partial(checkpoints.reached, self.service))

    def finalize_response(self, request: Request, response: Any, *args: Any, **kwargs: Any) -> Any:
        return not_stored(super().finalize_response(request, response, *args, **kwargs))

    def get_queryset(self) -> QuerySet[Any]:
        customer, rows = customer_id(self.request), type(self).rows()
        return rows if customer is None else rows.filter(**{self.owner: customer})

    @open_to("view", customers=True)
    def list(self, request: Request) -> Response:
        """One's own, page by page."""
        if set(request.query_params) - {"limit", "cursor"}:
            return self.pages(self.filter_queryset(self.get_queryset()), self.serializer_class)
        check_parameters(request, {"limit", "cursor"})
        customer = customer_id(request)
        documents = listing(type(self).rows, self.serializer_class, None if customer is None else self.owner)
        pagination = KeysetPagination()
        page = pagination.page(request, documents.ordering, partial(documents.fetch, customer))
        return pagination.get_paginated_response([msgspec.Raw(row["document"]) for row in page])

    @open_to("view", customers=True)
    @extend_schema(parameters=[WhenSerializer])
    def retrieve(self, request: Request, pk: UUID) -> Response | HttpResponseNotModified:
        """The document as it is, or with `at` or `version` as it stood then, folded from the log."""
        if request.query_params:
            then = self.get_serializer(self.row_then(request, pk)).data
            return Response(then, headers={"ETag": etag(then["version"])})
        document, version = self.document(pk)
        headers = {"ETag": etag(version)}
        if has_it_already(request, version) and self.unchanged(pk, version):
            return HttpResponseNotModified(headers=headers)
        return Response(document, headers=headers)

    def unchanged(self, pk: UUID, version: int) -> bool:
        """Has the document been the same for as long as it has had its version?"""
        return True

    def row_then(self, request: Request, pk: Any) -> Any:
        check_parameters(request, {"at", "version"})
        when = WhenSerializer(data=request.query_params.dict())
        when.is_valid(raise_exception=True)
        self.row(pk)
        position = _position(f"{self.category}-{pk}", **when.validated_data)
        row = None if position is None else self.row_at(pk, position)
        if row is None:
            raise NotFound("it was not there then")
        return row

    def row_at(self, pk: Any, position: int) -> Any | None:
        """The row as it stood at a position of the log; None before its creation."""
        raise NotImplementedError

    @open_to("view", customers=True)
    @extend_schema(responses=EventReadSerializer(many=True))
    @action(detail=True, filter_backends=[])
    def history(self, request: Request, pk: Any) -> Response:
        """The events of this one, oldest first."""
        check_parameters(request, {"limit", "cursor"})
        self.row(pk)
        rows = self.paginate_queryset(store.find(stream=f"{self.category}-{pk}").order_by("stream_version"))
        events = store.recorded(store.find(position__in=[row.position for row in rows or ()]))
        customer = customer_id(request)
        return self.get_paginated_response([recorded.document(customer) for recorded in events])

    def row(self, pk: Any) -> Any:
        """The asker's row; raises NotFound for another's."""
        return get_object_or_404(self.get_queryset(), pk=pk)

    def document(self, pk: UUID) -> tuple[msgspec.Raw, int]:
        """The asker's document and its version; raises NotFound for another's."""
        customer = customer_id(self.request)
        owner = None if customer is None else self.owner
        found = lookup(type(self).rows, self.serializer_class, owner).find(pk, customer)
        if found is None:
            raise NotFound("not found")
        return found

    def pages(self, rows: QuerySet[Any], serializer: type[DocumentSerializer]) -> Response:
        keys = columns_of(ordering_of(rows))
        page = self.paginate_queryset(rows.values(*keys, document=serializer.json()))
        return self.get_paginated_response([msgspec.Raw(row["document"]) for row in page or ()])


def _position(stream: str, at: datetime | None, version: int | None) -> int | None:
    """The position that an instant means, or at which a stream reached a version; None for one it never had."""
    if at is not None:
        return store.position_at(at)
    return store.find(stream=stream, stream_version=version).values_list("position", flat=True).first()
