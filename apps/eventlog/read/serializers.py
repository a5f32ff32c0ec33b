"""The query parameters of the log."""

from rest_framework import serializers

from apps.eventlog.api.filters import InstantParameter
from apps.eventlog.events import Place, current_name, stream_named
from apps.eventlog.read.resume import PlaceField


class FeedQuerySerializer(serializers.Serializer[None]):
    """The query parameters of the feed."""

    after = PlaceField(default=Place, help_text="a position, or <position>@<event_id>")  # type: ignore[arg-type]
    limit = serializers.IntegerField(min_value=1, max_value=1000, default=100)
    type = serializers.CharField(required=False)
    stream = serializers.CharField(required=False)
    category = serializers.CharField(required=False)
    correlation_id = serializers.CharField(required=False, max_length=200)
    since = InstantParameter(required=False)
    until = InstantParameter(required=False)

    def validate_stream(self, stream: str) -> str:
        return stream_named(stream)


class StreamQuerySerializer(serializers.Serializer[None]):
    """The filters of the live stream."""

    type = serializers.RegexField(r"^\w+\.\w+$", max_length=200, required=False)
    stream = serializers.RegexField(r"^\w+-[^\s]+$", max_length=200, required=False)
    category = serializers.RegexField(r"^\w+$", max_length=100, required=False)

    def validate_type(self, type: str) -> str:
        return current_name(type)

    def validate_stream(self, stream: str) -> str:
        return stream_named(stream)


class StreamPlaceSerializer(StreamQuerySerializer):
    """The filters, and the position to begin after."""

    after = PlaceField(required=False, help_text="a position, or <position>@<event_id>; 0 for the beginning")
