"""The API's answer to the question: which data do you have about me? It comes page by page."""

from itertools import islice
from operator import itemgetter
from typing import Any
from uuid import UUID

from django.conf import settings
from drf_spectacular.utils import OpenApiParameter
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from apps.eventlog.api.pagination import KeysetPagination
from apps.eventlog.privacy.subject_report import Entry, Location, stored_about

PAGING = [
    OpenApiParameter("limit", {"type": "integer", "minimum": 1, "maximum": 200, "default": 50}),
    OpenApiParameter("cursor", {"type": "string", "minLength": 1}, description="from `next` or `previous`"),
]


class HeldSerializer(serializers.Serializer[None]):
    """One value about a person, and the table, row and field that have it."""

    source = serializers.CharField()  # type: ignore[assignment]
    where = serializers.CharField()
    field = serializers.CharField()
    value = serializers.JSONField()


class PersonalDataSerializer(serializers.Serializer[None]):
    subject = serializers.UUIDField()
    left_out = serializers.ListField(
        child=serializers.CharField(), help_text="whose rows this process does not have (SERVE), so they are not here"
    )
    results = HeldSerializer(many=True)
    next = serializers.URLField(allow_null=True)
    previous = serializers.URLField(allow_null=True)


def personal_data(request: Request, subject: UUID) -> Response:
    """A page of the values about a person, each with its source."""

    def fetch(order: list[str], values: list[Any], size: int) -> list[tuple[Location, Entry]]:
        after = Location(*values) if values else None
        return list(islice(stored_about(subject, after, backwards=order[0].startswith("-")), size))

    pagination = KeysetPagination()
    pagination.salt = f"personal data of {subject}"  # so that no cursor of another list or another person fits
    page = pagination.page(request, list(Location._fields), fetch, itemgetter(0))
    answer = pagination.get_paginated_response([entry for _, entry in page])
    answer.data = {"subject": subject, "left_out": settings.LEFT_OUT} | answer.data
    return answer
