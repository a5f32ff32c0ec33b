"""Events as the feed, the histories and the stream show them; the catalog of event types; the status of the log."""

from datetime import datetime
from typing import Any
from uuid import UUID

from drf_spectacular.utils import extend_schema_serializer
from rest_framework import serializers

from apps.eventlog.events import FIELDS, Payload

_KINDS = {
    int: serializers.IntegerField,
    str: serializers.CharField,
    UUID: serializers.UUIDField,
    datetime: serializers.DateTimeField,
    Payload: serializers.JSONField,
}


# Only describes the document of an event: `RecordedEvent.document` makes it. A docstring would enter the API's schema.
class EventReadSerializer(serializers.Serializer[None]):
    def get_fields(self) -> dict[str, Any]:
        return {name: _KINDS[kind](read_only=True) for name, kind in FIELDS.items()}


@extend_schema_serializer(many=False)
class FeedSerializer(serializers.Serializer[None]):
    results = EventReadSerializer(many=True)
    next = serializers.IntegerField(
        allow_null=True, help_text="the value of `after` for the next page; null at the end"
    )


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


class ReaderSerializer(serializers.Serializer[None]):
    name = serializers.CharField()
    service = serializers.CharField()
    position = serializers.IntegerField()
    lag = serializers.IntegerField(help_text="how many events it has not projected yet")
    dead_letters = serializers.IntegerField()
    log_went_back = serializers.BooleanField(help_text="it has read events that are not in the log, and has stopped")


class RelaySerializer(serializers.Serializer[None]):
    name = serializers.CharField(help_text="where it sends events: the servers and the stream")
    running = serializers.BooleanField(help_text="it has given a sign of life in the last 20 seconds")
    position = serializers.IntegerField()
    lag_events = serializers.IntegerField(help_text="how many events it has yet to send")
    lag_seconds = serializers.FloatField(help_text="how long the oldest of these has waited")
    log_went_back = serializers.BooleanField(help_text="it has sent events that are not in the log")
    beat_at = serializers.DateTimeField(help_text="its last sign of life")
    error = serializers.CharField(help_text="what keeps it from sending; empty if nothing does")


class ProcessSerializer(ReaderSerializer):
    timers = serializers.IntegerField(help_text="how many are set")
    commands = serializers.IntegerField(help_text="how many are still to be sent")


class SealsSerializer(serializers.Serializer[None]):
    position = serializers.IntegerField()
    log_went_back = serializers.BooleanField(help_text="they are over events that are not in the log")


class StatusSerializer(serializers.Serializer[None]):
    head = serializers.IntegerField(help_text="the position of the last event")
    safe_position = serializers.IntegerField(help_text="no event can still appear up to here")
    safe_event_id = serializers.UUIDField(allow_null=True, help_text="the event there; null in an empty log")
    identity = serializers.UUIDField(allow_null=True, help_text="the first event of the log; null in an empty log")
    projectors = ReaderSerializer(many=True)
    reactors = ReaderSerializer(many=True)
    processes = ProcessSerializer(many=True)
    relays = RelaySerializer(many=True)
    seals = SealsSerializer()
    dead_letters = serializers.IntegerField()
