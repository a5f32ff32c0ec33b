"""The projectors and reactors of a service: how far each has come, and the events that it could not take."""

from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.safestring import SafeString
from django.utils.text import Truncator

from apps.eventlog.admin.actions import Refused, act_with_reason
from apps.eventlog.admin.filters import ValuesFilter
from apps.eventlog.admin.html import link, pretty
from apps.eventlog.admin.readonly import ReadOnlyAdmin
from apps.eventlog.delivery import retry
from apps.eventlog.delivery.dead_letters import OPEN
from apps.eventlog.models import DeadLetter
from apps.eventlog.projectors import Projector
from apps.eventlog.reactors import Reactor


class CheckpointAdmin(ReadOnlyAdmin):
    list_display = ("name", "position", "updated_at")
    actions = None


class DeadLetterAdmin(ReadOnlyAdmin):
    list_display = ("position", "status", "projector", "stream", "attempts", "why", "parked_at")
    list_filter = ("status", ("projector", ValuesFilter))
    search_fields = ("=stream",)
    actions = ("retry", "skip")
    exclude = ("position", "acts")
    readonly_fields = ("event", "parked_at", "acts_of_operators")

    @admin.display(description="error")
    def why(self, letter: DeadLetter) -> str:
        return Truncator(letter.error).chars(120)

    @admin.display
    def event(self, letter: DeadLetter) -> SafeString:
        return link(f"at position {letter.position}", "eventlog_storedevent_change", letter.position)

    @admin.display
    def acts_of_operators(self, letter: DeadLetter) -> SafeString:
        return pretty(letter.acts)

    @admin.action(description="Retry the streams of these, in order", permissions=["act"])
    def retry(self, request: HttpRequest, letters: QuerySet[DeadLetter]) -> None:
        for name, stream in sorted(set(letters.filter(status__in=OPEN).values_list("projector", "stream"))):
            done, error = retry.retry(_reader(name), stream, by=request.user.get_username())
            level = messages.WARNING if error else messages.SUCCESS
            self.message_user(request, f"{name} {stream}: {done} taken in{f', then {error}' if error else ''}", level)

    @admin.action(description="Skip for good, with a reason", permissions=["act"])
    def skip(self, request: HttpRequest, letters: QuerySet[DeadLetter]) -> HttpResponse | None:
        by = request.user.get_username()

        def act(letter: DeadLetter, reason: str) -> None:
            if not retry.skip(_reader(letter.projector), letter.position, by=by, reason=reason):
                raise Refused("it does not wait any more")

        return act_with_reason(self, request, letters, "Skip", act)


def _reader(name: str) -> Any:
    return {**Projector.registry, **Reactor.registry}[name]
