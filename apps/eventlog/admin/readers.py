"""The projectors and reactors of a service: how far each has come, and its dead letters."""

from typing import ClassVar

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.safestring import SafeString
from django.utils.text import Truncator

from apps.eventlog.admin.actions import Refused, act_with_reason
from apps.eventlog.admin.filters import ValuesFilter
from apps.eventlog.admin.html import link, pretty
from apps.eventlog.admin.readonly import ReadOnlyAdmin
from apps.eventlog.delivery.dead_letters import OPEN
from apps.eventlog.models import DeadLetter
from apps.eventlog.processing import settling


class CheckpointAdmin(ReadOnlyAdmin):
    list_display = ("name", "position", "updated_at")
    actions = None


class DeadLetterAdmin(ReadOnlyAdmin):
    list_display: tuple[str, ...] = (
        "position",
        "status",
        "projector",
        "stream",
        "attempts",
        "why",
        "parked_at",
    )
    list_filter = ("status", ("projector", ValuesFilter))
    search_fields: ClassVar[tuple[str, ...]] = ("=stream",)
    actions = ("retry", "skip")
    exclude = ("position", "acts")
    readonly_fields = ("event", "parked_at", "acts_of_operators")

    @admin.display(description="error")
    def why(self, dead_letter: DeadLetter) -> str:
        return Truncator(dead_letter.error).chars(120)

    @admin.display
    def event(self, dead_letter: DeadLetter) -> SafeString:
        position = dead_letter.position
        return link(f"at position {position}", "eventlog_storedevent_change", position)

    @admin.display
    def acts_of_operators(self, dead_letter: DeadLetter) -> SafeString:
        return pretty(dead_letter.acts)

    @admin.action(description="Retry their streams, each in order", permissions=["act"])
    def retry(self, request: HttpRequest, dead_letters: QuerySet[DeadLetter]) -> None:
        readers = settling.readers()
        streams = dead_letters.filter(status__in=OPEN).values_list("projector", "stream")
        for name, stream in sorted(set(streams)):
            done, error = settling.retry(readers[name], stream, by=request.user.get_username())
            level = messages.WARNING if error else messages.SUCCESS
            self.message_user(request, f"{name} {stream}: {done} taken in{f', then {error}' if error else ''}", level)

    @admin.action(description="Skip for ever, with a reason", permissions=["act"])
    def skip(self, request: HttpRequest, dead_letters: QuerySet[DeadLetter]) -> HttpResponse | None:
        by, readers = request.user.get_username(), settling.readers()

        def act(dead_letter: DeadLetter, reason: str) -> None:
            if not settling.skip(readers[dead_letter.projector], dead_letter.position, by=by, reason=reason):
                raise Refused("it is settled already")

        return act_with_reason(self, request, dead_letters, "Skip", act)
