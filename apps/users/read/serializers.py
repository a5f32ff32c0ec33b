"""Documents of the users service."""

from apps.eventlog.api.documents import DocumentSerializer
from apps.users.models import User


class UserReadSerializer(DocumentSerializer):
    class Meta:
        model = User
        fields = ("id", "version", "email", "name", "status", "registered_at", "updated_at")
        read_only_fields = fields
