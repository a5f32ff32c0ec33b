"""The API's answer to the question: which data do you have about me?"""

from uuid import UUID

from rest_framework import serializers
from rest_framework.response import Response

from apps.eventlog.privacy.subject_report import stored_about


class HeldSerializer(serializers.Serializer[None]):
    """One value about a person, and the table, row and field that have it."""

    source = serializers.CharField()  # type: ignore[assignment]
    where = serializers.CharField()
    field = serializers.CharField()
    value = serializers.JSONField()


class PersonalDataSerializer(serializers.Serializer[None]):
    subject = serializers.UUIDField()
    held = HeldSerializer(many=True)


def personal_data(subject: UUID) -> Response:
    """List each value about a person, with its source."""
    return Response({"subject": subject, "held": list(stored_about(subject))})
