"""Everything that is held about one person, as the API answers it: page by page."""

from itertools import islice
from typing import Any
from uuid import UUID

from drf_spectacular.utils import OpenApiParameter
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from apps.eventlog.api.pagination import KeysetPagination
from apps.eventlog.privacy.subject_report import Place, held_about

PAGING = [
    OpenApiParameter("limit", {"type": "integer", "minimum": 1, "maximum": 200, "default": 50}),
    OpenApiParameter("cursor", {"type": "string", "minLength": 1}, description="from `next` or `previous`"),
]


class HeldSerializer(serializers.Serializer[None]):
    """One value that is held about a person, and where."""

    source = serializers.CharField()  # type: ignore[assignment]
    where = serializers.CharField()
    field = serializers.CharField()
    value = serializers.JSONField()


class PersonalDataSerializer(serializers.Serializer[None]):
    subject = serializers.UUIDField()
    results = HeldSerializer(many=True)
    next = serializers.URLField(allow_null=True)
    previous = serializers.URLField(allow_null=True)


def personal_data(request: Request, subject: UUID) -> Response:
    """A page of the values held about one person, each with its source."""

    def fetch(order: list[str], values: list[Any], size: int) -> list[dict[str, Any]]:
        after = Place(*values) if values else None
        found = islice(held_about(subject, after, backwards=order[0].startswith("-")), size)
        return [place._asdict() | {"held": held} for place, held in found]

    pagination = KeysetPagination()
    pagination.salt = f"personal data of {subject}"  # no other list's cursor fits, nor another person's
    page = pagination.page(request, list(Place._fields), fetch)
    answer = pagination.get_paginated_response([row["held"] for row in page])
    answer.data = {"subject": subject} | answer.data
    return answer
