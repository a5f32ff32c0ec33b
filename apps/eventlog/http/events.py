"""Events as the API shows them: in the feed, in histories and in the stream."""

from rest_framework import serializers

from apps.eventlog.models import StoredEvent
from apps.eventlog.store import COLUMNS


class EventReadSerializer(serializers.ModelSerializer[StoredEvent]):
    class Meta:
        model = StoredEvent
        fields = COLUMNS
        read_only_fields = COLUMNS
