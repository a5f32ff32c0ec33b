"""What the log may be asked, and what it answers."""

from drf_spectacular.utils import extend_schema_serializer
from rest_framework import serializers

from apps.eventlog.http.events import EventReadSerializer


class FeedQuerySerializer(serializers.Serializer[None]):
    """The query parameters of the feed."""

    after = serializers.IntegerField(min_value=0, max_value=2**62, default=0)
    limit = serializers.IntegerField(min_value=1, max_value=1000, default=100)
    type = serializers.CharField(required=False)
    stream = serializers.CharField(required=False)
    category = serializers.CharField(required=False)
    correlation_id = serializers.UUIDField(required=False)
    since = serializers.DateTimeField(required=False)
    until = serializers.DateTimeField(required=False)


class StreamQuerySerializer(serializers.Serializer[None]):
    """The filters of the live stream."""

    type = serializers.RegexField(r"^\w+\.\w+$", max_length=200, required=False)
    stream = serializers.RegexField(r"^\w+-[^\s]+$", max_length=200, required=False)
    category = serializers.RegexField(r"^\w+$", max_length=100, required=False)


class StreamPlaceSerializer(StreamQuerySerializer):
    """The filters, and where to begin."""

    after = serializers.RegexField(r"^[0-9]{1,18}$", required=False, help_text="a position; 0 for the beginning")


@extend_schema_serializer(many=False)
class FeedSerializer(serializers.Serializer[None]):
    results = EventReadSerializer(many=True)
    next = serializers.IntegerField(allow_null=True, help_text="go on after this position; null at the end")


class EventVersionSerializer(serializers.Serializer[None]):
    schema_version = serializers.IntegerField()
    schema = serializers.DictField(help_text="JSON Schema of the payload")


class EventTypeSerializer(EventVersionSerializer):
    type = serializers.CharField()
    versions = EventVersionSerializer(many=True)


class CatalogSerializer(serializers.Serializer[None]):
    results = EventTypeSerializer(many=True)
    next = serializers.CharField(allow_null=True)
    previous = serializers.CharField(allow_null=True)


class ProjectorSerializer(serializers.Serializer[None]):
    name = serializers.CharField()
    service = serializers.CharField()
    position = serializers.IntegerField()
    lag = serializers.IntegerField(help_text="events that wait for it")
    dead_letters = serializers.IntegerField()


class StatusSerializer(serializers.Serializer[None]):
    head = serializers.IntegerField()
    projectors = ProjectorSerializer(many=True)
    dead_letters = serializers.IntegerField()
