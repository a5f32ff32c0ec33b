"""The business processes in the admin."""

from typing import Any, ClassVar

from django.contrib import admin
from django.utils.safestring import SafeString

from apps.eventlog.admin import searching
from apps.eventlog.admin.filters import ValuesFilter
from apps.eventlog.admin.html import bullets, event_link, link, pretty, stream_link, table
from apps.eventlog.admin.readers import CheckpointAdmin, DeadLetterAdmin
from apps.eventlog.admin.readonly import ReadOnlyAdmin
from apps.processes.models import Checkpoint, DeadLetter, Instance, OutgoingCommand, Timer

SHOWN = 100  # commands of an instance on its page


@admin.register(Instance)
class InstanceAdmin(ReadOnlyAdmin):
    list_display = ("process", "key", "updated_at")
    list_display_links = ("process", "key")
    list_filter = (("process", ValuesFilter),)
    search_fields = ("=key",)
    search_hint = "The key of an instance: the id of an order, for one, or its beginning."
    findable = True
    actions = None
    fields = ("process", "key", "about", "values", "last_event", "timers", "sent", "updated_at")
    readonly_fields = ("about", "values", "last_event", "timers", "sent")

    @admin.display(description="state")
    def values(self, instance: Instance) -> SafeString:
        return pretty(instance.state)

    @admin.display
    def last_event(self, instance: Instance) -> SafeString:
        return event_link(instance.position)

    @admin.display(description="about")
    def about(self, instance: Instance) -> SafeString | str:
        """The rows whose id is the key."""
        found = [stream_link(stream) for stream in searching.existing(searching.streams(instance.key))]
        return bullets(found) if found else "nothing with a page of its own"

    @admin.display
    def timers(self, instance: Instance) -> SafeString:
        found = Timer.objects.filter(process=instance.process, key=instance.key)
        rows = [(timer.name, timer.at.isoformat(timespec="seconds")) for timer in found]
        return table(["Timer", "Due"], rows) if rows else SafeString("none")

    @admin.display
    def sent(self, instance: Instance) -> SafeString:
        found = OutgoingCommand.objects.filter(process=instance.process, key=instance.key)[:SHOWN]
        rows = [(_command(each), each.status, each.sent_at or "", each.error) for each in found]
        return table(["Command", "Status", "Sent", "Error"], rows) if rows else SafeString("nothing")


def _command(command: OutgoingCommand) -> SafeString:
    return link(command.command, "processes_outgoingcommand_change", command.pk)


@admin.register(Timer)
class TimerAdmin(ReadOnlyAdmin):
    list_display = ("at", "process", "name", "key")
    list_filter = (("process", ValuesFilter),)
    search_fields = ("=key",)
    search_hint = "The key of an instance."
    actions = None


@admin.register(OutgoingCommand)
class OutgoingCommandAdmin(ReadOnlyAdmin):
    list_display = ("number", "status", "command", "process", "key", "attempts", "sent_at")
    list_display_links = ("number", "command")
    list_filter = ("status", ("process", ValuesFilter))
    search_fields = ("=key",)
    search_hint = "The key of an instance."
    actions = None
    fields = (
        *("process", "key", "command", "parameters", "cause", "status", "attempts", "try_at"),
        *("error", "sent_at", "effect", "command_id"),
    )
    readonly_fields = ("parameters", "cause", "effect")

    @admin.display(description="content")
    def parameters(self, command: OutgoingCommand) -> SafeString:
        return pretty(command.content)

    @admin.display(description="event that led to it")
    def cause(self, command: OutgoingCommand) -> SafeString:
        return event_link(command.position)

    @admin.display(description="its last event")
    def effect(self, command: OutgoingCommand) -> Any:
        return event_link(command.sent_position) if command.sent_position else "none"


admin.site.register(Checkpoint, CheckpointAdmin)


@admin.register(DeadLetter)
class ProcessDeadLetterAdmin(DeadLetterAdmin):
    list_display: tuple[str, ...] = (
        "position",
        "status",
        "projector",
        "key",
        "timer",
        "attempts",
        "why",
        "parked_at",
    )
    search_fields: ClassVar[tuple[str, ...]] = ("=stream", "=key")
    search_hint = "The stream of an event, or the key of an instance."
