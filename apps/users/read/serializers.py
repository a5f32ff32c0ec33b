"""Documents of the users service."""

from rest_framework import serializers

from apps.eventlog.http.documents import DocumentSerializer
from apps.users.models import User


class HeldSerializer(serializers.Serializer[None]):
    """One value that is held about a person, and where."""

    source = serializers.CharField()  # type: ignore[assignment]
    where = serializers.CharField()
    field = serializers.CharField()
    value = serializers.JSONField()


class PersonalDataSerializer(serializers.Serializer[None]):
    subject = serializers.UUIDField()
    held = HeldSerializer(many=True)


class UserReadSerializer(DocumentSerializer):
    class Meta:
        model = User
        fields = ("id", "version", "email", "name", "status", "registered_at", "updated_at")
        read_only_fields = fields
