"""Events as the feed, the histories and the stream show them; the catalog of event types; the status of the log."""

from datetime import datetime
from typing import Any
from uuid import UUID

from drf_spectacular.utils import extend_schema_serializer
from rest_framework import serializers

from apps.eventlog.api.webhook_serializers import EndpointSerializer
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
    formerly = serializers.ListField(child=serializers.CharField(), help_text="what the type was called before")
    versions = EventVersionSerializer(many=True)


class CatalogSerializer(serializers.Serializer[None]):
    results = EventTypeSerializer(many=True)
    next = serializers.CharField(allow_null=True)
    previous = serializers.CharField(allow_null=True)


class ReaderSerializer(serializers.Serializer[None]):
    name = serializers.CharField()
    service = serializers.CharField()
    position = serializers.IntegerField()
    lag = serializers.IntegerField(allow_null=True, help_text="the same as lag_events, as it was called before")
    lag_events = serializers.IntegerField(allow_null=True, help_text="how many events it has yet to take")
    lag_seconds = serializers.FloatField(allow_null=True, help_text="how long the oldest of these has waited")
    rate = serializers.FloatField(
        allow_null=True, help_text="events a second that it took lately; null if not known yet"
    )
    batch_ms = serializers.FloatField(allow_null=True, help_text="milliseconds that it needs for a batch, on average")
    dead_letters = serializers.IntegerField()
    last_error = serializers.CharField(allow_null=True, help_text="of the newest event that it could not take")
    last_error_at = serializers.DateTimeField(allow_null=True)
    log_went_back = serializers.BooleanField(help_text="it has read events that are not in the log, and has stopped")


class ProcessSerializer(ReaderSerializer):
    timers = serializers.IntegerField(help_text="how many are set")
    commands = serializers.IntegerField(help_text="how many are still to be sent")


class RelaySerializer(serializers.Serializer[None]):
    name = serializers.CharField(help_text="where it sends events: the servers and the stream")
    running = serializers.BooleanField(help_text="it has given a sign of life in the last 20 seconds")
    position = serializers.IntegerField()
    lag_events = serializers.IntegerField(help_text="how many events it has yet to send")
    lag_seconds = serializers.FloatField(help_text="how long the oldest of these has waited")
    log_went_back = serializers.BooleanField(help_text="it has sent events that are not in the log")
    beat_at = serializers.DateTimeField(help_text="its last sign of life")
    error = serializers.CharField(help_text="what keeps it from sending; empty if nothing does")


class ReplicaSerializer(serializers.Serializer[None]):
    """Where queries of a service read, if it answers. What is not known is null."""

    service = serializers.CharField()
    away = serializers.BooleanField(help_text="it does not answer, so queries read at the primary")
    position = serializers.IntegerField(allow_null=True, help_text="of its rows")
    lag_events = serializers.IntegerField(allow_null=True, help_text="events in the log that its rows do not show yet")
    lag_seconds = serializers.FloatField(allow_null=True, help_text="for how long the oldest of these has waited")
    log_went_back = serializers.BooleanField(help_text="its rows show events that are not in the log")


class SealsSerializer(serializers.Serializer[None]):
    position = serializers.IntegerField()
    age_seconds = serializers.FloatField(help_text="since the last seal; if there is none, since the first event")
    log_went_back = serializers.BooleanField(help_text="they are over events that are not in the log")


class MarkSerializer(serializers.Serializer[None]):
    position = serializers.IntegerField(help_text="no follower passes it while the append is open")
    pid = serializers.IntegerField(allow_null=True, help_text="the process of PostgreSQL; null if prepared")
    prepared = serializers.CharField(allow_null=True, help_text="the name of a prepared transaction")
    role = serializers.CharField()
    application = serializers.CharField()
    client = serializers.CharField(allow_null=True, help_text="null if the database does not say it to this role")
    state = serializers.CharField(allow_null=True)
    since = serializers.DateTimeField(allow_null=True)
    seconds = serializers.FloatField()
    release = serializers.CharField(help_text="the SQL that ends the append without a commit")


class FaultSerializer(serializers.Serializer[None]):
    text = serializers.CharField()
    page = serializers.CharField(
        allow_null=True, help_text="the page of the admin where it is put right; null if this login may not see it"
    )


# What the log says is null if its database does not answer in time; readers whose database does not are left out.
class StatusSerializer(serializers.Serializer[None]):
    serves = serializers.ListField(child=serializers.CharField(), help_text="whose readers are here: see SERVE")
    wrong = serializers.ListField(child=serializers.CharField(), help_text="what is wrong now, the worst first")
    faults = FaultSerializer(many=True, help_text="the same, each with where it is put right")
    away = serializers.ListField(child=serializers.CharField(), help_text="what did not answer in time")
    head = serializers.IntegerField(allow_null=True, help_text="the position of the last event")
    safe_position = serializers.IntegerField(allow_null=True, help_text="no event can still appear up to here")
    safe_event_id = serializers.UUIDField(allow_null=True, help_text="the event there; null in an empty log")
    identity = serializers.UUIDField(allow_null=True, help_text="the first event of the log; null in an empty log")
    oldest_mark_seconds = serializers.FloatField(allow_null=True, help_text="how long an append has held readers back")
    marks = MarkSerializer(many=True, help_text="appends that have been open for long and hold back every follower")
    seals = SealsSerializer(allow_null=True)
    projectors = ReaderSerializer(many=True)
    reactors = ReaderSerializer(many=True)
    processes = ProcessSerializer(many=True)
    webhooks = EndpointSerializer(many=True)
    replicas = ReplicaSerializer(many=True)
    relays = RelaySerializer(many=True)
    dead_letters = serializers.IntegerField(help_text="of all readers together")
