"""Events as the API shows them: in the feed, in histories and in the stream."""

from rest_framework import serializers

from apps.eventlog.events import FIELDS
from apps.eventlog.models import StoredEvent


class EventReadSerializer(serializers.ModelSerializer[StoredEvent]):
    class Meta:
        model = StoredEvent
        fields = list(FIELDS)
        read_only_fields = list(FIELDS)
