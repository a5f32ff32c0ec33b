"""What the log may be asked."""

from rest_framework import serializers

from apps.eventlog.events import Place
from apps.eventlog.read.resume import PlaceField


class FeedQuerySerializer(serializers.Serializer[None]):
    """The query parameters of the feed."""

    after = PlaceField(default=Place, help_text="a position, or <position>@<event_id>")  # type: ignore[arg-type]
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

    after = PlaceField(required=False, help_text="a position, or <position>@<event_id>; 0 for the beginning")
