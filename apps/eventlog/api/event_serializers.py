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


class ProjectorSerializer(serializers.Serializer[None]):
    name = serializers.CharField()
    service = serializers.CharField()
    position = serializers.IntegerField()
    lag = serializers.IntegerField(help_text="how many events it has not projected yet")
    dead_letters = serializers.IntegerField()


class StatusSerializer(serializers.Serializer[None]):
    head = serializers.IntegerField()
    projectors = ProjectorSerializer(many=True)
    dead_letters = serializers.IntegerField()
