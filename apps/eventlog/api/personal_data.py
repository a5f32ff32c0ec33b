"""Everything that is held about one person, as the API answers it."""

from uuid import UUID

from rest_framework import serializers
from rest_framework.response import Response

from apps.eventlog.privacy.subject_report import stored_about


class HeldSerializer(serializers.Serializer[None]):
    """One value that is held about a person, and where."""

    source = serializers.CharField()  # type: ignore[assignment]
    where = serializers.CharField()
    field = serializers.CharField()
    value = serializers.JSONField()


class PersonalDataSerializer(serializers.Serializer[None]):
    subject = serializers.UUIDField()
    held = HeldSerializer(many=True)


def personal_data(subject: UUID) -> Response:
    """The answer that lists each value held about a person, with its source."""
    return Response({"subject": subject, "held": list(stored_about(subject))})
