"""What the API takes and shows of webhooks."""

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers
from rest_framework.exceptions import ValidationError

from apps.eventlog.api.command_serializer import CommandSerializer, example
from apps.eventlog.events import named
from apps.eventlog.relay.webhooks import addresses
from apps.eventlog.relay.webhooks.models import Delivery

LOOK_UP = 2.0  # seconds for which the name in a URL is looked up
MOST_TYPES = 1000


class UrlField(serializers.CharField):
    """A URL to which events may be sent. A name that has no address now may have one later."""

    def to_internal_value(self, data: Any) -> str:
        try:
            url = addresses.checked_url(super().to_internal_value(data))
            addresses.require_allowed(url, LOOK_UP)
        except addresses.Refused as refused:
            raise ValidationError(f"{refused}") from refused
        return url


@extend_schema_field({"type": "string", "description": "a type of the catalog, such as orders.OrderPlaced"})
class EventTypeField(serializers.CharField):
    """The name of an event type that this code has. A former name is stored as the current one."""

    def to_internal_value(self, data: Any) -> str:
        kind = named(data) if isinstance(data, str) else None
        if kind is None:
            raise ValidationError(f"unknown event type {str(data)[:200]!r}; the catalog has all")
        return kind.type


class EventTypesField(serializers.ListField):
    """The types that an endpoint gets, each once; an empty list means all."""

    child = EventTypeField()

    def __init__(self, **options: Any) -> None:
        super().__init__(max_length=MOST_TYPES, help_text="an empty list means all types", **options)

    def to_internal_value(self, data: Any) -> list[str]:
        return list(dict.fromkeys(super().to_internal_value(data)))


@example({"url": "https://example.org/hooks/orders", "event_types": ["orders.OrderPlaced"], "active": True})
class MakeEndpointSerializer(CommandSerializer):
    url = UrlField(max_length=addresses.LONGEST)
    event_types = EventTypesField(default=list)
    active = serializers.BooleanField(default=True)


@example({"active": False})
class ChangeEndpointSerializer(CommandSerializer):
    url = UrlField(max_length=addresses.LONGEST, required=False)
    event_types = EventTypesField(required=False)
    active = serializers.BooleanField(required=False)


@example({"stream": "order-0198c0de-0000-7000-8000-000000000000"})
class SendAgainSerializer(CommandSerializer):
    stream = serializers.CharField(max_length=200, required=False, help_text="only of this stream; by default of all")


@example({"stream": "order-0198c0de-0000-7000-8000-000000000000", "position": 812, "reason": "their order was deleted"})
class SkipSerializer(CommandSerializer):
    stream = serializers.CharField(max_length=200)
    position = serializers.IntegerField(min_value=1, max_value=2**53, help_text="of the event that is left out")
    reason = serializers.CharField(max_length=500)


@example({"after": 812})
class SendFromSerializer(CommandSerializer):
    after = serializers.IntegerField(
        min_value=0, max_value=2**53, help_text="a position of the log; 0 is its beginning"
    )


class EndpointSerializer(serializers.Serializer[None]):
    id = serializers.UUIDField()
    url = serializers.CharField()
    event_types = serializers.ListField(child=serializers.CharField(), help_text="an empty list means all types")
    active = serializers.BooleanField()
    position = serializers.IntegerField(help_text="up to here it has taken all, but for what is set aside or waits")
    lag_events = serializers.IntegerField(help_text="how many events it has yet to take")
    lag_seconds = serializers.FloatField(help_text="how long the first of them has been in the log")
    failing_since = serializers.DateTimeField(allow_null=True)
    last_error = serializers.CharField(allow_blank=True)
    dead_letters = serializers.IntegerField(help_text="events that were set aside after three days")
    log_went_back = serializers.BooleanField(help_text="it has taken events that are not in the log, and has stopped")


class EndpointIdSerializer(serializers.Serializer[None]):
    id = serializers.UUIDField()


class SecretSerializer(EndpointIdSerializer):
    secret = serializers.CharField(help_text="whsec_..., shown only now")


class CountSerializer(EndpointIdSerializer):
    deliveries = serializers.IntegerField(help_text="how many deliveries it is")


class PlaceSerializer(EndpointIdSerializer):
    position = serializers.IntegerField(help_text="events after this one are sent")


class DeliverySerializer(serializers.ModelSerializer[Delivery]):
    class Meta:
        model = Delivery
        fields = [
            "position", "event_id", "stream", "stream_version", "type", "status", "attempts", "first_attempt_at",
            "last_attempt_at", "next_attempt_at", "answer", "error", "settled_at",
        ]  # fmt: skip
        read_only_fields = fields
