"""Documents of the users service."""

from rest_framework import serializers

from apps.users.models import User


class UserReadSerializer(serializers.ModelSerializer[User]):
    class Meta:
        model = User
        fields = ("id", "version", "email", "name", "status", "registered_at", "updated_at")
        read_only_fields = fields
